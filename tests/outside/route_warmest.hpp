// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/policy/least_offer.hpp"
#include "actors/policy/policy_parameter.hpp"

#include <algorithm>
#include <cstdint>

namespace warmest {

using namespace perigee;

/// The instance with the longest prefix among those whose queue is at most `slack-s` longer than the shortest one.
struct route_warmest {
  static constexpr const char* name = "warmest";
  static constexpr const char* summary = "longest own prefix among instances whose queue is nearly the shortest";

  route_decision decide(const route_query& query, const load_view& view) const {
    auto shortest = UINT64_MAX;
    for (const auto& at : query.candidates)
      if (const auto* load = view.find(role::prefill, at.index))
        shortest = std::min(shortest, load->queue_ns(query.now_ns));
    auto limit = static_cast<double>(shortest) + slack_s * 1e9;
    return place_at_least(query, view, [&](const candidate& at, const instance_load& load) {
      auto offer = offer_own(query, at, load);
      auto late = std::max(0.0, static_cast<double>(offer.queue_ns) - limit);
      // In ns, so that any lateness outweighs any prefix.
      offer.score = late > 0 ? late : -static_cast<double>(at.own_blocks);
      return offer;
    });
  }

  double slack_s = 5;
  static constexpr std::array parameters = {
    policy_parameter<route_warmest>{"slack-s", &route_warmest::slack_s, 0, 600, "how much longer a queue may be, s"},
  };
};

} // namespace warmest
