// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cassert>
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

} // namespace perigee::sim
