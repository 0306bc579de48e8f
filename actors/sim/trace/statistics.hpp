// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace perigee::sim {

/// Nearest rank: element `ceil(percent * n / 100)` of n sorted values, counted from 1. There is at least one value;
/// `percent` is at most 100, and 0 gives the smallest.
template <class T>
const T& nearest_rank(std::span<const T> sorted, unsigned percent) {
  assert(!sorted.empty() && percent <= 100);
  auto rank = (sorted.size() * percent + 99) / 100;
  return sorted[std::max<size_t>(rank, 1) - 1];
}

/// The figures that are printed for a set of values; all 0 where there is none.
struct distribution {
  uint64_t sum = 0;
  double mean = 0;
  uint32_t p50 = 0;
  uint32_t p90 = 0;
  uint32_t p99 = 0;
  uint32_t max = 0;
};

inline distribution distribution_of(std::vector<uint32_t> values) {
  if (values.empty())
    return {};
  std::ranges::sort(values);
  auto sorted = std::span<const uint32_t>{values};
  auto sum = uint64_t{0};
  for (auto value : values)
    sum += value;
  return {sum,
          static_cast<double>(sum) / static_cast<double>(values.size()),
          nearest_rank(sorted, 50),
          nearest_rank(sorted, 90),
          nearest_rank(sorted, 99),
          values.back()};
}

/// Mean of some values and half the width of its 95 % confidence interval by Student's t; 0 wide with fewer than two.
struct mean_interval {
  double mean = 0;
  double half_width = 0;
};

inline mean_interval mean_of(std::span<const double> values) {
  // Two-sided 95 % points of Student's t for 1 to 30 degrees of freedom.
  constexpr std::array<double, 30> student_t = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
                                                2.201,  2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
                                                2.080,  2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042};
  if (values.empty())
    return {};
  auto count = static_cast<double>(values.size());
  auto sum = 0.0;
  for (auto value : values)
    sum += value;
  auto mean = sum / count;
  if (values.size() < 2)
    return {mean, 0};
  auto squares = 0.0;
  for (auto value : values)
    squares += (value - mean) * (value - mean);
  auto t = values.size() - 1 <= student_t.size() ? student_t.at(values.size() - 2) : 1.96;
  return {mean, t * std::sqrt(squares / (count - 1) / count)};
}

} // namespace perigee::sim
