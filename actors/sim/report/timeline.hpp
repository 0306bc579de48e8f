// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/sim/report/run_record.hpp"

#include <iosfwd>
#include <span>

namespace perigee::sim {

struct timeline_options {
  /// At most about so many slices. Where there are more, neighbouring decode steps become longer slices, and of every
  /// so many requests one is shown, with all that belongs to it.
  size_t slices_max = 300'000;
};

/// Writes runs in the JSON trace format that Perfetto and Chrome open: a process for each run, a track for each
/// instance and below it tracks of the transfers that arrive there (as many as overlap), a slice for each chunk,
/// transfer and sequence of decode steps, arrows from the last chunk of a request over its hand-over to the steps that
/// it joins, and a mark where a request was rejected. Times are in microseconds from the trace's start.
void write_timeline(std::ostream& out, std::span<const run_record> runs, const timeline_options& options = {});

} // namespace perigee::sim
