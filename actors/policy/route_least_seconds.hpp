// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/policy/least_offer.hpp"

namespace perigee {

/// Least predicted queue seconds, whatever is cached where. Also what the Conductor falls back to when its policy is silent.
struct route_least_seconds {
  static constexpr const char* name = "least-seconds";
  static constexpr const char* summary = "the prefill instance with the least predicted queue seconds";

  route_decision decide(const route_query& query, const load_view& view) const {
    return place_at_least(query, view, [&](const candidate& at) {
      auto* load = view.find(role::prefill, at.index);
      auto queue_ns = load ? load->queue_ns(query.now_ns) : 0;
      return std::pair{queue_ns, route_offer{at.index, queue_ns + at.prefill_own_ns, 0}};
    });
  }
};

} // namespace perigee
