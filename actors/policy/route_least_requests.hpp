// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/policy/least_offer.hpp"

namespace perigee {

/// argmin of the number of requests that are placed and not computed yet, the running one included.
struct route_least_requests {
  static constexpr const char* name = "least-requests";
  static constexpr const char* summary = "the prefill instance with the fewest queued requests";

  route_decision decide(const route_query& query, const load_view& view) const {
    return place_at_least(query, view, [&](const candidate& at, const instance_load& load) {
      auto offer = offer_own(query, at, load);
      offer.score = load.queued;
      return offer;
    });
  }
};

} // namespace perigee
