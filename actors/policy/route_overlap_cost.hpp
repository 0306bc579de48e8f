// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/policy/least_offer.hpp"
#include "actors/policy/policy_parameter.hpp"

namespace perigee {

/// NVIDIA Dynamo's KV router, in blocks:
///   cost_i = scale * max(0, active prefill_i + prompt - credit_i) + active_i + request,   argmin
/// where active prefill_i are uncached blocks placed at i and not computed, active_i all blocks its pool holds for requests,
/// and credit_i = credit * blocks of the prompt that i has. Dynamo credits 1 for a block on the device, 0.75 in host memory,
/// 0.25 on disk; the shard beside an instance is host memory.
struct route_overlap_cost {
  static constexpr const char* name = "overlap-cost";
  static constexpr const char* summary = "Dynamo's: uncached prefill blocks, scaled, plus blocks held";

  double scale = 1;
  double credit = 0.75;

  static constexpr std::array parameters{
    policy_parameter<route_overlap_cost>{"scale", &route_overlap_cost::scale, 0, 1000, "weight of blocks to compute"},
    policy_parameter<route_overlap_cost>{"credit", &route_overlap_cost::credit, 0, 1, "what a cached block is worth"},
  };

  route_decision decide(const route_query& query, const load_view& view) const {
    auto block = static_cast<double>(query.block_tokens);
    auto prompt = query.prompt_tokens / block;
    return place_at_least(query, view, [&](const candidate& at, const instance_load& load) {
      auto offer = offer_own(query, at, load);
      auto to_compute = static_cast<double>(load.queued_tokens) / block + prompt - credit * at.own_blocks;
      offer.score = scale * std::max(0.0, to_compute) + static_cast<double>(load.tokens) / block + prompt;
      return offer;
    });
  }
};

} // namespace perigee
