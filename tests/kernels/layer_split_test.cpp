// SPDX-License-Identifier: Apache-2.0
#include "kernels/layer_split.hpp"
#include "kernels/stream.hpp"
#include "tests/support/testing.hpp"

using namespace perigee;
using namespace perigee::kernels;

TEST_CASE("layer_split: the stages have all layers, each as many as the others or one more") {
  for (auto layers = 1u; layers <= 80; ++layers)
    for (auto stages = 1u; stages <= std::min(layers, 8u); ++stages) {
      auto next = 0u;
      for (auto stage = 0u; stage < stages; ++stage) {
        auto part = stage_layers(layers, stage, stages);
        CHECK(part.first == next);
        CHECK(part.end - part.first >= layers / stages);
        CHECK(part.end - part.first <= layers / stages + 1);
        next = part.end;
      }
      CHECK(next == layers);
    }
}

TEST_CASE("layer_split: activations lie where no layer of the part does, or have no room") {
  auto layout = kv_layout{8, 4, 100};
  CHECK(activations_at(layout, {0, 4}, 200) == 4u);
  CHECK(activations_at(layout, {4, 8}, 200) == 0u);
  CHECK(activations_at(layout, {1, 6}, 200) == 6u);
  CHECK(!activations_at(layout, {1, 7}, 101));
  CHECK(activations_at(layout, {1, 7}, 100) == 0u);
  CHECK(!activations_at(layout, {0, 0}, 1)); // All layers.
  CHECK(!activations_at(layout, {0, 4}, 0));
  CHECK(stages_max(layout, 100, 8) == 8);
  CHECK(stages_max(layout, 100, 5) == 5);
  CHECK(stages_max(layout, 400, 8)
        == 2); // Of three stages, the middle one has two layers before it and three after it.
  CHECK(stages_max(layout, 500, 8) == 1);
  CHECK(stages_max(layout, 0, 8) == 1);
}
