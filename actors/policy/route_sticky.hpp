// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/policy/least_offer.hpp"
#include "actors/policy/policy_parameter.hpp"

namespace perigee {

/// llm-d's prefix affinity: an instance that has at least `share` of the prompt keeps it, unless its predicted first token
/// comes more than `penalty-s` later than the best other one's:
///   cost_i = T_queue + T_prefill(n, own_i) - (own_i >= share * prompt ? penalty : 0),   argmin
struct route_sticky {
  static constexpr const char* name = "sticky";
  static constexpr const char* summary = "llm-d's: stay where most of the prefix is, unless that costs seconds";

  double share = 0.8;
  double penalty_s = 18;

  static constexpr std::array parameters{
    policy_parameter<route_sticky>{"share", &route_sticky::share, 0, 1, "of the prompt's blocks that must be there"},
    policy_parameter<route_sticky>{"penalty-s", &route_sticky::penalty_s, 0, 3600, "seconds that staying may cost"},
  };

  route_decision decide(const route_query& query, const load_view& view) const {
    auto blocks_min = share * query.prompt_tokens / query.block_tokens;
    return place_at_least(query, view, [&](const candidate& at, const instance_load& load) {
      auto offer = offer_own(query, at, load);
      if (at.own_blocks > 0 && at.own_blocks >= blocks_min)
        offer.score -= penalty_s * 1e9;
      return offer;
    });
  }
};

} // namespace perigee
