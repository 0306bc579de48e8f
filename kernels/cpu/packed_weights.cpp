// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/packed_weights.hpp"

namespace perigee::kernels::cpu {

packed_weights::packed_weights(const transformer_weights& weights) {
  using parts = std::vector<matrix_view>;
  auto all = std::vector<parts>{};
  for (const auto& from : weights.layers) {
    all.push_back({from.q, from.k, from.v});
    all.push_back({from.o});
    all.push_back({from.gate, from.up});
    all.push_back({from.down});
  }
  all.push_back({weights.output});
  auto bytes = size_t{0};
  for (const auto& one : all)
    bytes += packed_matrix::bytes_for(one);
  memory_ = aligned_buffer<std::byte>{bytes};
  auto* at = memory_.data();
  auto next = all.begin();
  auto pack = [&] {
    auto packed = packed_matrix{*next++, at};
    at += packed.bytes(); // panels are multiples of 64 bytes
    return packed;
  };
  layers_.resize(weights.layers.size());
  for (auto& to : layers_)
    to = {pack(), pack(), pack(), pack()};
  output_ = pack();
}

} // namespace perigee::kernels::cpu
