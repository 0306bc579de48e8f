// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/cache/eviction.hpp"
#include "actors/sim/trace/trace.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace perigee::cli {

/// Requests that `perigee sim` works on: a file (`--trace`) or drawn ones (`--draw`), exactly one of them.
struct request_source {
  std::string trace;     ///< a JSONL file, "-" for standard input
  std::string draw;      ///< KIND:SEED
  uint64_t requests = 0; ///< at most so many; 0: all of a trace, and `drawn_requests` drawn ones
  double rate = 0;       ///< drawn requests per second; 0: that of the kind
  uint32_t block_tokens = sim::trace_block_tokens; ///< other blocks are read only, neither drawn nor analyzed
};

inline constexpr uint64_t drawn_requests = 12'000;
inline constexpr uint64_t analyzed_cache_tokens = 3'000'000; ///< if --analyze is given no size

/// Hands every request to `take`, one at a time. Throws `usage_error` for a malformed trace, too.
void for_each_request(const request_source& source, const std::function<void(const sim::trace_request&)>& take);

/// All of them in memory.
std::vector<sim::trace_request> load_requests(const request_source& source);

/// `perigee sim --analyze`: prints what a trace holds and what caches of these sizes would find, with LRU, with each of
/// `evictions`, and with the best possible choice.
int run_sim_analyze(const request_source& source, const std::vector<uint64_t>& cache_tokens,
                    const std::vector<eviction>& evictions, bool json);

/// `perigee sim --write-trace FILE`: writes the requests as JSONL; "-" is standard output.
int run_write_trace(const request_source& source, const std::string& path);

} // namespace perigee::cli
