// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/bench_handover_run.hpp"
#include "kernels/model/synthetic.hpp"
#include "tests/support/testing.hpp"
#include "transport/base/status.hpp"

using namespace perigee;
using namespace perigee::cli;

TEST_CASE("byte_seconds: bytes count for as long as they are held") {
  auto held = byte_seconds{};
  held.take(1, 100);
  held.take(2, 50);       // 100 so far
  held.give_back(4, 100); // 2 * 150 more
  CHECK_EQ(held.held(), 50);
  held.give_back(10, 50); // 6 * 50 more
  CHECK_EQ(held.held(), 0);
  CHECK_EQ(held.total(), 700);
}

TEST_CASE("bench handover: the KV of a prompt arrives within the process and in another one; four ways are measured") {
  auto weights = kernels::random_model("15m");
  auto options = handover_options{.prompts = {100, 1'000'000}, .chunk_tokens = 32, .runs = 1};
  for (const char* provider : {"tcp;ofi_rxm", "local"}) { // The first forks, so no thread may be there.
    CAPTURE(provider);
    options.provider = provider;
    auto result = bench_handover(weights, options);
    CHECK(!result.path.empty());
    REQUIRE_EQ(result.rows.size(), 1); // the other does not fit the context
    const auto& row = result.rows.front();
    CHECK_EQ(row.tokens, 100);
    CHECK_EQ(row.kv_bytes, 7 * 16 * result.kv_token_bytes); // whole blocks
    for (const auto* figure : {&row.none, &row.by_chunk, &row.by_layer, &row.at_end}) {
      CHECK_GT(figure->prefill_s, 0);
      CHECK_GT(figure->slot_byte_s, 0);
    }
    CHECK_EQ(row.by_chunk.kept_byte_s, 0);
    // 7 blocks in whole slots, or two layers of each of six; what is kept are as many floats as the model is wide.
    auto seconds = row.by_layer.prefill_s + row.by_layer.tail_s;
    CHECK_EQ(row.by_layer.slot_byte_s, doctest::Approx(seconds * 3 * 16 * static_cast<double>(result.kv_token_bytes)));
    CHECK_EQ(row.by_layer.kept_byte_s,
             doctest::Approx(row.by_layer.prefill_s * 7 * 16 * weights->config().hidden * sizeof(float)));
    CHECK_EQ(row.none.unsent_byte_s, 0);
    CHECK_EQ(row.none.tail_s, 0);
    CHECK_GT(row.by_chunk.unsent_byte_s, 0);
    CHECK_GT(row.at_end.tail_s, 0);
    CHECK_GT(row.by_chunk_unsent_ratio, 0);
    CHECK_GT(row.by_layer.unsent_byte_s, 0);
    CHECK_GT(row.by_layer_kept_ratio, row.by_layer_slot_ratio);
  }
}

TEST_CASE("bench handover: what cannot be measured is said") {
  auto weights = kernels::random_model("15m");
  CHECK_THROWS_AS(bench_handover(weights, {.prompts = {4096}}), failure);
  CHECK_THROWS_AS(bench_handover(weights, {.provider = "carrier-pigeon", .prompts = {16}}), failure);
}
