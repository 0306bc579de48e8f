// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/policy/least_offer.hpp"

namespace perigee {

/// argmin T_queue + T_prefill(n, own prefix): cache-aware scheduling of the Mooncake paper (FAST'25) without transfers.
struct route_prefix_local {
  static constexpr const char* name = "prefix-local";
  static constexpr const char* summary = "least queue + prefill from the instance's own prefix, no transfers";

  route_decision decide(const route_query& query, const load_view& view) const {
    return place_at_least(
      query, view, [&](const candidate& at, const instance_load& load) { return offer_own(query, at, load); });
  }
};

} // namespace perigee
