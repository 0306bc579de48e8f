// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/policy/late_binding.hpp"

namespace perigee {

/// Late binding: one queue at the Conductor, and an instance is chosen when one is free. Order: first what has less than
/// `urgent-s` of slack left (its deadline for the first token, less its prefill time with the best prefix), by deadline; then
/// the shortest prefill; last what is late already. A free instance takes it by least transfer + prefill.
struct route_central {
  static constexpr const char* name = "central";
  static constexpr const char* summary = "late binding: one queue, shortest prefill first, urgent ones before, late ones last";

  double urgent_s = 3;
  double lookahead_s = 0;

  static constexpr std::array parameters{
    policy_parameter<route_central>{"urgent-s", &route_central::urgent_s, 0, 3600,
                                    "seconds of slack below which a request goes first"},
    policy_parameter<route_central>{"lookahead-s", &route_central::lookahead_s, 0, 3600,
                                    "seconds before an instance is free at which it takes the next, so that fetching "
                                    "overlaps computing"},
  };

  route_decision decide(const route_query& query, const load_view& view) const {
    auto lookahead_ns = static_cast<uint64_t>(lookahead_s * 1e9);
    auto [sort_key, changes_ns] = key(query);
    auto decision = route_decision{};
    if (!is_behind_held(query, sort_key))
      decision = place_at_free(query, view, lookahead_ns);
    if (decision.what == verdict::place)
      return decision;
    decision.chosen = {};
    decision.sort_key = sort_key;
    decision.ask_again_ns = changes_ns;
    auto free_ns = lookahead_ns > 0 ? first_free_ns(query, view, lookahead_ns) : 0;
    if (free_ns > 0 && !is_behind_held(query, sort_key) && (changes_ns == 0 || free_ns < changes_ns))
      decision.ask_again_ns = free_ns;
    return decision;
  }

private:
  static constexpr auto normal = uint64_t{1} << 62;
  static constexpr auto late = uint64_t{2} << 62;

  /// Its place in the order, and when that changes; 0 for never.
  std::pair<uint64_t, uint64_t> key(const route_query& query) const {
    auto ideal_ns = query.prefill_best_ns;
    auto urgent_ns = static_cast<uint64_t>(urgent_s * 1e9);
    auto latest_ns = query.arrived_ns + query.slo_ttft_ns - std::min(query.slo_ttft_ns, ideal_ns);
    if (query.now_ns > latest_ns)
      return {late | ideal_ns, 0};
    if (query.now_ns + urgent_ns >= latest_ns)
      return {latest_ns, latest_ns + 1};
    return {normal | ideal_ns, latest_ns - urgent_ns};
  }
};

} // namespace perigee
