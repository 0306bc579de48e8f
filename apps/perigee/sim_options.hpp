// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/sim/replay/replay.hpp"
#include "apps/perigee/sim_analyze.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace perigee::cli {

/// The flags of `perigee sim`, as given.
struct sim_flags {
  request_source source;
  std::vector<std::string> policies;   ///< empty: that of `serve`
  std::vector<std::string> plugins; ///< shared libraries with more policies
  std::vector<std::string> admissions; ///< empty: where no policy is named that of `serve`, else none
  std::string route_params;
  std::string local_order = "fifo";
  std::vector<std::string> evictions = {"lru"};
  uint32_t copies_cool = copies_cool_default;
  std::string roles = "auto"; ///< or fixed
  uint32_t prefill = 8;
  uint32_t decode = 8;
  std::vector<std::string> coupled = {"none"};
  bool conditional = false;
  uint32_t conditional_tokens = perigee::conditional{}.uncached_tokens_max;
  double conditional_share = perigee::conditional{}.uncached_share_max;
  uint32_t mixed_chunk = 1024;
  std::string cpp = "auto";
  perigee::pipelining cpp_limits = {};
  std::vector<double> speeds = {1};
  std::string profile = "a800x8-llama3-70b";
  std::string lengths = "oracle";
  std::string noise;
  std::string seed = "1"; ///< one, or A..B
  std::string slo = "ttft=30s,tbt=100ms";
  std::vector<uint64_t> cache_tokens; ///< empty for the profile's
  bool analyze = false;
  std::string write_trace;
  uint32_t chunk_tokens = 4096;
  uint32_t max_batch = 0; ///< sequences in one decode step; 0: all
  std::string deadline;
  bool digest = false;
  std::string digest_log;
  bool serialize = false;
  std::string html;
  std::string timeline;
  std::string decisions;
  std::string outcomes;
  bool json = false;
};

/// One row of the table that `perigee sim` prints: one run.
struct sim_run {
  std::string policy;
  std::string admission;
  std::string mode = "disaggregated"; ///< or "conditional", "prefill-first", "chunked"
  eviction evicts = eviction::lru;
  double speed = 1;
  uint64_t seed = 1;
};

/// What the flags ask for. Throws `usage_error`, which names the flag, what was found and what is allowed.
struct sim_plan {
  std::vector<sim_run> runs;
  sim::replay_options common; ///< of every run
  bool groups_as_policies_want = true; ///< who shares prompts depends on the policy of the run
  sim::service_level promised;
};

sim_plan plan_sim(const sim_flags& flags);

/// Throws `usage_error` if a request of the trace cannot run on that cluster.
void check_trace(const sim_plan& plan, const std::vector<sim::trace_request>& trace);

/// The options of one run.
sim::replay_options options_of(const sim_plan& plan, const sim_run& run);

/// The eviction rule of that name. Throws `usage_error`.
eviction eviction_of(const std::string& name);

/// Nanoseconds of "30s", "100ms", "5us" or "10min". Throws `usage_error` naming `flag`.
uint64_t parse_duration(const std::string& text, const std::string& flag);

/// "ttft=30s,tbt=100ms"; what is absent keeps its default.
sim::service_level parse_slo(const std::string& text);

/// First and last of "7" or "1..20".
std::pair<uint64_t, uint64_t> parse_seeds(const std::string& text);

} // namespace perigee::cli
