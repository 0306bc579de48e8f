// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/policy/least_offer.hpp"

namespace perigee {

/// argmin T_queue, whatever is cached where. Also what the Conductor falls back to when its policy is silent.
struct route_least_seconds {
  static constexpr const char* name = "least-seconds";
  static constexpr const char* summary = "the prefill instance with the least predicted queue seconds";

  route_decision decide(const route_query& query, const load_view& view) const {
    return place_at_least(query, view, [&](const candidate& at, const instance_load& load) {
      auto offer = offer_own(query, at, load);
      offer.score = static_cast<double>(offer.queue_ns);
      return offer;
    });
  }
};

} // namespace perigee
