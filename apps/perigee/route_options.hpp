// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/conductor/conductor.hpp"
#include "actors/sim/trace/trace.hpp"

#include <string>

namespace perigee::cli {

/// Of the Conductor that `perigee bench route` measures: `instances` of prefill with a shard each, and as many of decode.
inline conductor_options route_conductor_options(const std::string& policy, uint32_t instances) {
  conductor_options options;
  options.self = {role::conductor, 0, 1, 1};
  options.block_tokens = sim::trace_block_tokens;
  options.policy = policy;
  options.members_expected = 3 * instances;
  options.waiting_requests_max = UINT32_MAX;
  options.waiting_tokens_max = UINT64_MAX / 2;
  return options;
}

} // namespace perigee::cli
