// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <utility>

namespace perigee::testing {

/// A clock and its timers, for tests of pure state machines.
class virtual_time {
public:
  uint64_t now() const {
    return now_;
  }

  void after(uint64_t delay_ns, std::function<void()> action) {
    due_.emplace(std::pair{now_ + delay_ns, ++made_}, std::move(action));
  }

  void run_for(uint64_t span_ns) {
    auto end = now_ + span_ns;
    while (!due_.empty() && due_.begin()->first.first <= end) {
      auto first = due_.extract(due_.begin());
      now_ = first.key().first;
      first.mapped()();
    }
    now_ = end;
  }

private:
  uint64_t now_ = 1'000'000'000;
  uint64_t made_ = 0;
  std::map<std::pair<uint64_t, uint64_t>, std::function<void()>> due_;
};

} // namespace perigee::testing
