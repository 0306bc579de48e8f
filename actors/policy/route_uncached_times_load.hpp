// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/policy/least_offer.hpp"

namespace perigee {

/// LMetric: cost_i = uncached tokens_i * (requests in flight_i + 1), argmin. Needs no model of time.
struct route_uncached_times_load {
  static constexpr const char* name = "uncached-times-load";
  static constexpr const char* summary = "LMetric: uncached tokens times requests in flight";

  route_decision decide(const route_query& query, const load_view& view) const {
    return place_at_least(query, view, [&](const candidate& at, const instance_load& load) {
      auto offer = offer_own(query, at, load);
      auto cached = std::min<uint64_t>(uint64_t{at.own_blocks} * query.block_tokens, query.prompt_tokens - 1);
      offer.score = static_cast<double>(query.prompt_tokens - cached) * (load.queued + 1.0);
      return offer;
    });
  }
};

} // namespace perigee
