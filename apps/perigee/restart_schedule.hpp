// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>

namespace perigee::cli {

/// Decides when a process that died is started again: at once-ish the first time, twice as late each further time, and
/// never more than `starts_per_minute` in any minute. A pure value; the caller brings the time.
class restart_schedule {
public:
  using time_point = std::chrono::steady_clock::time_point;

  struct options {
    std::chrono::milliseconds first{250};
    std::chrono::milliseconds longest{8'000};
    std::chrono::milliseconds settled{10'000}; ///< one that lived so long starts over with `first`
    uint32_t starts_per_minute = 6;
  };

  restart_schedule() = default;
  explicit restart_schedule(options how) : how_(how), delay_(how.first) {}

  void started(time_point at);

  /// When to start the process that died at `at`; not before `at`.
  time_point next_start(time_point at);

private:
  options how_;
  std::chrono::milliseconds delay_ = how_.first; ///< until the next restart
  std::deque<time_point> starts_;                ///< of the last minute, oldest first
};

} // namespace perigee::cli
