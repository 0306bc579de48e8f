// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

namespace perigee::sim {

/// How wrong what the scheduler knows may be.
struct noise_options {
  double prefill_sigma = 0;     ///< of the logarithm of true over predicted prefill time
  uint64_t report_age_ns = 0;   ///< load reports take so much longer
  uint64_t report_skew_ns = 0;  ///< and those of the last device that much more; of the others, in proportion
  uint32_t lost_events_ppm = 0; ///< millionths of the index events that never reach the Conductor
};

/// Equally likely factors, e^(sigma·z) for quantiles z of the normal distribution, scaled to a mean of 1: device time in
/// all stays what it is. Empty for a sigma of 0. From a table and + - × ÷ only, so that they are the same everywhere.
std::vector<double> log_normal_factors(double sigma);

} // namespace perigee::sim
