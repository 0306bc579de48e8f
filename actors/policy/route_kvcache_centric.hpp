// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/policy/least_offer.hpp"

namespace perigee {

/// Algorithm 1 of the Mooncake paper (FAST'25): for each prefill instance compare computing from its own prefix with
/// fetching the best prefix of the pool, and take the smallest of transfer + queue + prefill. A fetch pays where the best
/// prefix is more than `balancing_threshold` times the own one; the copy it makes stays and replicates a hot prefix.
struct route_kvcache_centric {
  static constexpr const char* name = "kvcache-centric";
  static constexpr const char* summary = "Algorithm 1: own prefix or a fetched one, least transfer + queue + prefill";

  uint32_t balancing_threshold = 2;

  route_decision decide(const route_query& query, const load_view& view) const {
    return place_at_least(query, view, [&](const candidate& at) {
      auto* load = view.find(role::prefill, at.index);
      auto offer = route_offer{at.index, load ? load->queue_ns(query.now_ns) : 0, 0};
      if (query.best_blocks > uint64_t{balancing_threshold} * at.own_blocks) {
        offer.fetch_blocks = query.best_blocks - at.own_blocks;
        offer.ttft_ns += offer.fetch_blocks * query.transfer_ns_block + query.prefill_best_ns;
      } else {
        offer.ttft_ns += at.prefill_own_ns;
      }
      return std::pair{offer.ttft_ns, offer};
    });
  }
};

} // namespace perigee
