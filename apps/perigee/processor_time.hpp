// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ctime>

namespace perigee::cli {

/// Of this thread, so that what else the machine does counts as little as it can.
inline double processor_seconds() {
  auto now = timespec{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

} // namespace perigee::cli
