// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/policy/route_kvcache_centric.hpp"

namespace perigee {

/// Parts of policies that place a request only when an instance is free, and keep the others in an order of their own
/// at the Conductor until then.

/// Whether the instance has computed all that was placed there, or is predicted to have within `lookahead_ns`. News of
/// that may be late; but who is overdue for long may be stuck.
inline bool is_free(const instance_load& load, uint64_t now_ns, uint64_t lookahead_ns) {
  constexpr auto overdue_ns_max = uint64_t{2'000'000'000};
  if (load.queued == 0)
    return true;
  return lookahead_ns > 0 && load.free_at_ns <= now_ns + lookahead_ns && load.free_at_ns + overdue_ns_max > now_ns;
}

/// When the first candidate is predicted to be free in that sense; 0 if there is none.
inline uint64_t first_free_ns(const route_query& query, const load_view& view, uint64_t lookahead_ns) {
  auto first = uint64_t{0};
  for (const auto& at : query.candidates)
    if (auto* load = view.find(role::prefill, at.index); load && load->queued > 0) {
      auto at_ns = load->free_at_ns > lookahead_ns ? load->free_at_ns - lookahead_ns : 0;
      if (at_ns > query.now_ns && (first == 0 || at_ns < first))
        first = at_ns;
    }
  return first;
}

/// Whether another request that is held comes before one with that key.
inline bool is_behind_held(const route_query& query, uint64_t sort_key) {
  return query.held > 0 && (query.held_key < sort_key || (query.fresh && query.held_key == sort_key));
}

/// Places among the free instances, cheapest first token first; holds if there is none.
inline route_decision place_at_free(const route_query& query, const load_view& view, uint64_t lookahead_ns) {
  auto best = best_offers{};
  for (const auto& at : query.candidates)
    if (auto* load = view.find(role::prefill, at.index); load && is_free(*load, query.now_ns, lookahead_ns))
      best.add(offer_cheapest(query, at, *load));
  return best.place(query, view);
}

} // namespace perigee
