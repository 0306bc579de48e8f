// SPDX-License-Identifier: Apache-2.0
#pragma once

// The simulator for programs outside this tree: plain values in and out. Who includes this needs no CAF header.

#include "actors/policy/policy_parameter.hpp"
#include "actors/sim/replay/metrics.hpp"
#include "actors/sim/trace/trace.hpp"

#include <span>
#include <string>
#include <vector>

namespace perigee::sim {

/// One cluster of the built-in profile, and how it is used. The defaults are those of
/// `perigee sim --policy kvcache-centric`.
struct simulation {
  std::string policy = "kvcache-centric"; ///< by name: built in, or of a plugin that was loaded
  parameter_values route_params;
  std::string admission = "none";
  uint32_t prefills = 8;
  uint32_t decodes = 8;
  double speed = 1; ///< arrivals come so much faster
  uint64_t cache_tokens = 3'000'000; ///< DRAM cache beside each prefill instance
  bool lengths_known = true; ///< `max_tokens` is the output's length; otherwise what the context leaves
  service_level promised;
  uint64_t seed = 1;
};

struct simulation_result {
  std::vector<request_record> requests; ///< in the order of the trace
  service_summary summary;
  uint64_t moved_tokens = 0; ///< prefix KV read from other nodes
  uint64_t virtual_ns = 0;   ///< from the trace's start to the end of the last request
  std::string digest;        ///< SHA-256 over every message and timer
};

/// Runs `trace` through the production actors in virtual time. The same arguments give the same result, in every process.
/// Throws `failure`: `invalid_argument` names an option, what was found and what is allowed; `corrupt` where an actor died or a
/// request never ended. One at a time in a process.
simulation_result simulate(std::span<const trace_request> trace, const simulation& wanted);

} // namespace perigee::sim
