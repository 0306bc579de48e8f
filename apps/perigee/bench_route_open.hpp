// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/sim/trace/trace.hpp"

#include <cstdint>
#include <span>
#include <string>

namespace perigee::cli {

/// How long answers take when requests come at a rate of their own.
struct route_latencies {
  double rate = 0; ///< requests a second
  uint64_t requests = 0;
  double events = 0; ///< index events a second that were applied meanwhile, beside those of the requests
  double p50_us = 0;
  double p99_us = 0;
  double max_us = 0;
};

/// The production actors under Poisson arrivals of `rate` requests a second, with `events` index events a second and `blocks`
/// blocks in the index. Time is this thread's processor time, and what it would idle is skipped: what else runs on the
/// machine does not count, everything that this thread does does.
route_latencies open_loop(std::span<const sim::trace_request> trace, const std::string& policy, uint32_t instances,
                          uint64_t blocks, double rate, double events);

/// Decisions a second in a closed loop of the same actors.
double closed_loop(std::span<const sim::trace_request> trace, const std::string& policy, uint32_t instances,
                   uint64_t blocks);

} // namespace perigee::cli
