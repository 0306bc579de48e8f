// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/policy/least_offer.hpp"
#include "actors/policy/policy_parameter.hpp"

namespace perigee {

/// SGLang's gateway: with the requests queued at each instance as its load,
///   if max - min > difference and max > ratio * min:      the least loaded
///   else if the longest prefix is > share of the prompt:  the instance that has it
///   else:                                                 the least loaded
struct route_balanced_prefix {
  static constexpr const char* name = "balanced-prefix";
  static constexpr const char* summary = "SGLang's gateway: longest prefix while the load is balanced";

  double difference = 64;
  double ratio = 1.5;
  double share = 0.3;

  static constexpr std::array parameters{
    policy_parameter<route_balanced_prefix>{"difference", &route_balanced_prefix::difference, 0, 1e6,
                                            "requests between the most and the least loaded that are tolerated"},
    policy_parameter<route_balanced_prefix>{"ratio", &route_balanced_prefix::ratio, 1, 1e6,
                                            "between the most and the least loaded that is tolerated"},
    policy_parameter<route_balanced_prefix>{"share", &route_balanced_prefix::share, 0, 1,
                                            "of the prompt from which a prefix decides"},
  };

  route_decision decide(const route_query& query, const load_view& view) const {
    auto least = UINT32_MAX;
    auto most = uint32_t{0};
    auto longest = uint32_t{0};
    for (const auto& at : query.candidates)
      if (auto* load = view.find(role::prefill, at.index)) {
        least = std::min(least, load->queued);
        most = std::max(most, load->queued);
        longest = std::max(longest, at.own_blocks);
      }
    auto unbalanced = most > least && most - least > difference && most > ratio * least;
    auto by_prefix = !unbalanced && longest * query.block_tokens > share * query.prompt_tokens;
    return place_at_least(query, view, [&](const candidate& at, const instance_load& load) {
      auto offer = offer_own(query, at, load);
      offer.score = by_prefix ? -static_cast<double>(at.own_blocks) : load.queued;
      return offer;
    });
  }
};

} // namespace perigee
