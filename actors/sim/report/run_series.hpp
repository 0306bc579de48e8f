// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/sim/report/run_record.hpp"

#include <span>
#include <utility>
#include <vector>

namespace perigee::sim {

/// x and y of a curve, in the units of its axes.
using curve = std::vector<std::pair<double, double>>;

/// A span of time from 0 cut into equal parts.
struct time_grid {
  uint64_t end_ns = 1;
  size_t parts = 1;

  double part_s() const {
    return static_cast<double>(end_ns) / static_cast<double>(parts) / 1e9;
  }
  /// Middle of a part, in seconds.
  double middle_s(size_t part) const {
    return (static_cast<double>(part) + 0.5) * part_s();
  }
  /// The part that a time lies in; the last one for what is later.
  size_t part_of(uint64_t at_ns) const;
};

/// Until the last request of all the runs has ended, at least 1 s.
time_grid grid_of(std::span<const run_record> runs, size_t parts);

/// Share of all requests (0 to 1) whose value was at most x seconds; those without a value never come, so the curve may
/// end below 1. At most `points_max` points, which stand closer towards the largest values.
curve distribution_curve(std::span<const run_request> requests, uint64_t run_request::*value, size_t points_max);

/// Mean number of requests between two of their times, for each part of the grid. A request counts if `begin` came;
/// while `end` never came, until the end of the grid or of the request.
std::vector<double> mean_present(std::span<const run_request> requests, uint64_t run_request::*begin,
                                 uint64_t run_request::*end, const time_grid& grid);

/// Whether the instance did that work for any request: one on a device that changes its role may do either.
bool took_part(const run_record& run, uint32_t instance, instance_role work);

/// Requests at one instance: for prefill from their placement to the prefill's end, for decode from joining to their end.
std::vector<double> mean_present_at(const run_record& run, uint32_t instance, instance_role work, const time_grid& grid);

/// Share of the time until the run's last end in which the instance computed prompts, or had requests to decode.
double busy_share(const run_record& run, uint32_t instance, instance_role work);

/// Reused share of the input tokens of the requests that arrived in each part and got an answer; parts without any are
/// left out.
curve hit_ratio_curve(std::span<const run_request> requests, const time_grid& grid);

/// Rejected requests per minute by arrival.
curve reject_curve(std::span<const run_request> requests, const time_grid& grid);

} // namespace perigee::sim
