// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/store_messages.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

namespace perigee {

/// What a prefill instance asks its store client for: `segments` name `blocks` blocks from the start of the prompt.
struct fetch_plan {
  std::vector<prefix_segment> segments;
  uint32_t blocks = 0;
};

/// The placement's plan, cut to the prompt's `blocks_max` full blocks. What it does not name is asked of the local
/// shard: the plan may be older than what was stored there meanwhile, and asking costs no network.
inline fetch_plan plan_fetch(const std::vector<prefix_segment>& placed, uint32_t blocks_max,
                             const std::optional<address>& local_shard) {
  auto plan = fetch_plan{};
  for (auto segment : placed) {
    segment.blocks = std::min(segment.blocks, blocks_max - plan.blocks);
    plan.blocks += segment.blocks;
    if (segment.blocks > 0)
      plan.segments.push_back(segment);
  }
  if (plan.blocks < blocks_max && local_shard) {
    plan.segments.push_back({*local_shard, blocks_max - plan.blocks});
    plan.blocks = blocks_max;
  }
  return plan;
}

/// Tokens of a prompt that need no computing when its first `blocks` blocks are here. The last token is always
/// computed: its logits are what the first sampled token needs.
constexpr uint32_t reused_tokens(uint32_t blocks, uint32_t block_tokens, uint32_t prompt_tokens) noexcept {
  return std::min(blocks * block_tokens, prompt_tokens - 1);
}

/// So many of a prompt's blocks may be lent: those in which no token is computed.
constexpr uint32_t lendable_blocks(uint32_t block_tokens, uint32_t prompt_tokens) noexcept {
  return (prompt_tokens - 1) / block_tokens;
}

/// First block to offer to the shards after `fetched` blocks came from the places in `placed`. What came from the local
/// shard is there already; a copy of a remote block becomes a new replica.
inline uint32_t first_to_offer(const std::vector<prefix_segment>& placed, uint32_t fetched,
                               const std::optional<address>& local_shard) {
  auto is_local = [&](const prefix_segment& segment) { return segment.shard == *local_shard; };
  return local_shard && std::all_of(placed.begin(), placed.end(), is_local) ? fetched : 0;
}

} // namespace perigee
