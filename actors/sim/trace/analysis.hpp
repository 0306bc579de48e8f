// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/sim/trace/block_caches.hpp"
#include "actors/sim/trace/flat_id_map.hpp"
#include "actors/sim/trace/statistics.hpp"
#include "actors/sim/trace/trace.hpp"

#include <cstdint>
#include <optional>
#include <vector>

namespace perigee::sim {

/// What a cache of one size would have found of a trace, were it one cache for all requests.
struct cache_analysis {
  uint64_t capacity_tokens = 0;
  uint64_t capacity_blocks = 0; ///< floor(capacity_tokens / 512)
  uint64_t hit_blocks = 0;
  uint64_t hit_tokens = 0;              ///< see `trace_analysis::ideal_hit_tokens`
  std::optional<uint64_t> bound_blocks; ///< what the best eviction rule could find
};

/// The same for each capacity with one eviction rule.
struct eviction_analysis {
  eviction rule = eviction::lru;
  std::vector<cache_analysis> caches; ///< in the order of the capacities asked for
};

struct trace_analysis {
  uint64_t requests = 0;
  uint64_t span_ns = 0; ///< from the first arrival to the last
  distribution input_tokens;
  distribution output_tokens;
  uint64_t blocks = 0; ///< of all requests, partial last ones included
  uint64_t unique_blocks = 0;
  uint64_t ideal_hit_blocks = 0; ///< with a cache that never forgets
  /// Tokens that the hit blocks hold: min(512 * blocks, input tokens) of each request. An instance reuses one token
  /// less where the whole prompt is hit, since at least one is always computed.
  uint64_t ideal_hit_tokens = 0;
  std::vector<cache_analysis> lru; ///< in the order of the capacities asked for
  std::vector<eviction_analysis> others; ///< of the other rules asked for
};

struct analysis_options {
  std::vector<uint64_t> cache_tokens; ///< capacities to try
  bool bound = false;                 ///< `bound_blocks` too: keeps 4 bytes for each block of each request
  std::vector<eviction> others = {};  ///< eviction rules to try beside LRU
};

/// Takes requests in their order, one at a time.
class trace_analyzer {
public:
  explicit trace_analyzer(analysis_options options);

  void add(const trace_request& request);
  trace_analysis result() const;

private:
  struct dense_id {
    uint32_t value = UINT32_MAX;

    bool is_free() const noexcept {
      return value == UINT32_MAX;
    }
  };

  analysis_options options_;
  trace_analysis sums_;
  uint64_t first_ns_ = 0;
  uint64_t last_ns_ = 0;
  std::vector<uint32_t> inputs_;
  std::vector<uint32_t> outputs_;
  flat_id_map<dense_id> ids_;
  struct trial {
    block_cache cache;
    cache_analysis result;
  };
  std::vector<std::vector<trial>> trials_; // LRU, then the others; by capacity
  std::vector<uint32_t> request_;  // dense ids of the request at hand
  std::vector<uint32_t> accesses_; // of all requests, if the bound is wanted
};

} // namespace perigee::sim
