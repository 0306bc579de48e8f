// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/restart_schedule.hpp"

#include <algorithm>

namespace perigee::cli {

void restart_schedule::started(time_point at) {
  starts_.push_back(at);
  if (starts_.size() > how_.starts_per_minute)
    starts_.pop_front();
}

restart_schedule::time_point restart_schedule::next_start(time_point at) {
  if (!starts_.empty() && at - starts_.back() >= how_.settled)
    delay_ = how_.first;
  auto when = at + delay_;
  delay_ = std::min(delay_ * 2, how_.longest);
  if (starts_.size() == how_.starts_per_minute)
    when = std::max(when, starts_.front() + std::chrono::minutes{1});
  return when;
}

} // namespace perigee::cli
