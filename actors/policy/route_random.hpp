// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/policy/least_offer.hpp"
#include "actors/policy/policy_random.hpp"

namespace perigee {

/// Any instance, each as likely as the others: a baseline.
struct route_random {
  static constexpr const char* name = "random";
  static constexpr const char* summary = "any instance, a baseline";

  policy_random random;

  route_decision decide(const route_query& query, const load_view& view) {
    // A draw per candidate: the least one wins, so nobody's absence shifts the others.
    return place_at_least(query, view, [&](const candidate& at, const instance_load& load) {
      auto offer = offer_own(query, at, load);
      offer.score = static_cast<double>(random.below(uint64_t{1} << 53));
      return offer;
    });
  }
};

} // namespace perigee
