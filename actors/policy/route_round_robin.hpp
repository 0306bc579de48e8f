// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/policy/least_offer.hpp"

namespace perigee {

/// Each request goes to the next instance, whatever it holds: a baseline. An instance of which nothing is known has no turn.
struct route_round_robin {
  static constexpr const char* name = "round-robin";
  static constexpr const char* summary = "one instance after the other, a baseline";

  uint32_t next = 0; ///< index from which the next turn is looked for

  route_decision decide(const route_query& query, const load_view& view) {
    auto turn = [&](const candidate& at) { return at.index >= next ? at.index - next : at.index + (UINT32_MAX - next); };
    auto decision = place_at_least(query, view, [&](const candidate& at, const instance_load& load) {
      auto offer = offer_own(query, at, load);
      offer.score = turn(at);
      return offer;
    });
    if (decision.what == verdict::place)
      next = decision.chosen.prefill + 1;
    return decision;
  }
};

} // namespace perigee
