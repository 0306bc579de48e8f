// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/policy/load_view.hpp"

#include <vector>

namespace perigee::testing {

/// The cluster as a policy under test sees it: instances that are known, and one request after the other.
struct policy_fixture {
  static constexpr auto second = uint64_t{1'000'000'000};

  instance_load& prefill(uint32_t index, uint64_t queue_ns = 0) {
    auto& load = loads.emplace_back();
    load.who = {role::prefill, index, index, 1};
    load.free_at_ns = now_ns + queue_ns;
    load.tokens_capacity = 1'000'000;
    load.cache_capacity = 1000;
    return load;
  }

  instance_load& decode(uint32_t index, uint64_t tokens = 0) {
    auto& load = loads.emplace_back();
    load.who = {role::decode, index, 100 + index, 1};
    load.tokens = tokens;
    load.tokens_capacity = 1'000'000;
    return load;
  }

  load_view view() const {
    auto result = load_view{};
    for (const auto& load : loads)
      result.set(load);
    return result;
  }

  /// A request of 20 blocks of 100 tokens; a token takes 1 ms, a block 1 ms to fetch. `own` are the blocks that each prefill
  /// instance has, from index 0.
  route_query query(std::vector<uint32_t> own, uint32_t best = 0, uint32_t blocks = 20) const {
    auto result = route_query{};
    result.placement = 1;
    result.now_ns = now_ns;
    result.arrived_ns = now_ns;
    result.block_tokens = 100;
    result.prompt_tokens = blocks * 100;
    result.slo_ttft_ns = 30 * second;
    result.transfer_ns_block = 1'000'000;
    result.best_blocks = best;
    result.prefill_best_ns = prefill_ns(blocks, best);
    for (auto i = uint32_t{0}; i < own.size(); ++i)
      result.candidates.push_back({i, own[i], prefill_ns(blocks, own[i])});
    for (const auto& load : loads)
      if (load.who.kind == role::decode)
        result.decodes.push_back(load.who.index);
    return result;
  }

  static uint64_t prefill_ns(uint32_t blocks, uint32_t cached) {
    return uint64_t{blocks - cached} * 100'000'000;
  }

  uint64_t now_ns = 1000 * second;
  std::vector<instance_load> loads;
};

} // namespace perigee::testing
