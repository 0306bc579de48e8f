// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

namespace perigee {

/// How hard prompts press on the devices that compute them: from 0, where devices are idle often enough, to 1, where
/// prompts wait. What is measured is the mean, over the last seconds, of the requests that wait or are computed for
/// each device; it says the same of short prompts and of long ones. Pure.
class prefill_pressure {
public:
  void update(uint64_t now_ns, uint64_t requests, uint64_t devices) {
    auto passed = static_cast<double>(now_ns - seen_ns_);
    seen_ns_ = now_ns;
    auto each = static_cast<double>(requests) / static_cast<double>(std::max<uint64_t>(1, devices));
    each_ += (each - each_) * passed / (passed + memory_ns);
  }

  double value() const {
    return std::clamp((each_ - each_low) / (each_high - each_low), 0.0, 1.0);
  }

private:
  static constexpr auto memory_ns = 10e9; // a burst passes, a change of load stays
  static constexpr auto each_low = 0.38;
  static constexpr auto each_high = 0.78;

  uint64_t seen_ns_ = 0;
  double each_ = 0;
};

} // namespace perigee
