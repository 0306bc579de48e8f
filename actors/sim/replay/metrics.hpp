// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/error.hpp"

#include <cstdint>
#include <map>
#include <span>
#include <vector>

namespace perigee::sim {

/// What became of one request. Times in virtual ns, lengths in tokens.
struct request_record {
  uint64_t arrival_ns = 0;
  uint32_t input_tokens = 0;
  uint32_t output_tokens = 0; ///< generated
  uint32_t cached_tokens = 0; ///< of the input, not computed by its first prefill
  uint64_t ttft_ns = 0;       ///< arrival to first token; 0 if none came
  uint64_t last_token_ns = 0; ///< arrival to last token; 0 if none came
  uint64_t tbt_ns = 0;        ///< mean of its longest 10 % of token gaps; 0 with fewer than two tokens
  bool finished = false;
  ec error = ec::none; ///< why it did not finish
};

/// What a request is promised.
struct service_level {
  uint64_t ttft_ns = 30'000'000'000;
  uint64_t tbt_ns = 100'000'000;
};

/// Nearest rank: element ceil(q·n/100) of a sorted list, counted from 1; 0 of an empty one. `q` from 1 to 100.
uint64_t percentile(std::span<const uint64_t> sorted, uint32_t q);

/// Mean of the longest tenth (rounded up) of the gaps, rounded down to ns; 0 without gaps. Reorders them.
uint64_t mean_of_longest_tenth(std::vector<uint64_t>& gaps);

/// Mean and percentiles in ns; zeros of nothing.
struct spread {
  double mean = 0;
  uint64_t p50 = 0, p90 = 0, p99 = 0, max = 0;
};

spread spread_of(std::vector<uint64_t> values);

/// All requests of one run. Shares are of all requests, with those refused and failed.
struct service_summary {
  uint64_t requests = 0;
  uint64_t finished = 0;
  uint64_t rejected = 0;              ///< refused before any token
  std::map<ec, uint64_t> not_finished; ///< by reason
  spread ttft_ns;                     ///< of what got a token
  double ttft_mean_all_ns = 0;        ///< with what got none counted at its service level
  spread tbt_ns;                      ///< of what has at least two tokens
  uint64_t input_tokens = 0;
  uint64_t hit_tokens = 0;
  double hit_ratio = 0;     ///< of the input tokens of what got a token
  double effective = 0;     ///< share of requests that kept both levels
  double token_goodput = 0; ///< the same by input tokens
};

service_summary summarize(std::span<const request_record> requests, const service_level& promised);

} // namespace perigee::sim
