// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/policy/least_offer.hpp"
#include "actors/policy/policy_parameter.hpp"

namespace perigee {

/// Algorithm 1 of the Mooncake paper (FAST'25). With best = longest prefix of the pool and own_i = that of instance i:
///   best / own_i > threshold (also when own_i = 0 < best): fetch, T_i = T_transfer + T_queue + T_prefill(n, best)
///   otherwise:                                                    T_i = T_queue + T_prefill(n, own_i)
/// argmin T_i. T_transfer counts what the source's network port has to send before. The copy that a fetch makes stays and
/// replicates a hot prefix.
struct route_kvcache_centric {
  static constexpr const char* name = "kvcache-centric";
  static constexpr const char* summary = "Algorithm 1: own prefix or a fetched one, least transfer + queue + prefill";

  double threshold = 2;

  static constexpr std::array parameters{
    policy_parameter<route_kvcache_centric>{"threshold", &route_kvcache_centric::threshold, 1, 1e9,
                                            "fetch where the pool's best prefix is longer than the own one by more "
                                            "than this factor"},
  };

  route_decision decide(const route_query& query, const load_view& view) const {
    auto first = soonest{query.candidates.size()};
    const auto& free_at_ns = view.prefill_free_at_ns();
    auto last_blocks = UINT32_MAX; // Most have as many of their own as the one before.
    auto fetched_ns = uint64_t{0}; // with so many; 0: there is nothing to fetch
    for (auto place = uint32_t{0}; place < query.candidates.size(); ++place) {
      const auto& at = query.candidates[place];
      auto free_ns = at.index < free_at_ns.size() ? free_at_ns[at.index] : UINT64_MAX;
      if (free_ns == UINT64_MAX)
        continue;
      if (at.own_blocks != last_blocks)
        fetched_ns = fetches(query, at) ? fetch_ns(query, at.own_blocks) + query.prefill_best_ns : 0;
      last_blocks = at.own_blocks;
      // Its offer's time to the first token, which is its score.
      auto takes_ns = fetched_ns > 0 ? fetched_ns : at.prefill_own_ns;
      first.takes_ns(place) = takes_ns + (free_ns > query.now_ns ? free_ns - query.now_ns : 0);
    }
    auto best = best_offers{};
    first.each([&](uint32_t place) {
      const auto& at = query.candidates[place];
      best.add(offer(query, at, *view.find(role::prefill, at.index)));
    });
    return best.place(query, view);
  }

  route_offer offer(const route_query& query, const candidate& at, const instance_load& load) const {
    return fetches(query, at) ? offer_fetched(query, at, load) : offer_own(query, at, load);
  }

  bool fetches(const route_query& query, const candidate& at) const {
    return query.best_blocks > threshold * at.own_blocks;
  }
};

} // namespace perigee
