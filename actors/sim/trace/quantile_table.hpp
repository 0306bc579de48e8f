// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/sim/random.hpp"

#include <cassert>
#include <cstdint>
#include <initializer_list>
#include <vector>

namespace perigee::sim {

/// A distribution given by some of its quantiles, linear between them: integers only, equal on every machine.
class quantile_table {
public:
  struct point {
    uint32_t permille;
    uint64_t value;
  };

  /// From permille 0 to 1000, both rising.
  quantile_table(std::initializer_list<point> points) : points_(points) {
    assert(points_.front().permille == 0 && points_.back().permille == 1000);
  }

  uint64_t draw(random_stream& random) const {
    constexpr uint64_t scale = 1'000'000; // of one permille, so that values between two quantiles come out evenly
    auto at = random.below(1000 * scale);
    size_t i = 1;
    while (points_[i].permille * scale <= at)
      ++i;
    const auto& low = points_[i - 1];
    const auto& high = points_[i];
    auto width = (high.permille - low.permille) * scale;
    return low.value + (high.value - low.value) * (at - low.permille * scale) / width;
  }

private:
  std::vector<point> points_;
};

/// An exponentially distributed time of the given mean, by von Neumann's method: comparisons of uniform numbers, no
/// logarithm.
inline uint64_t draw_exponential(random_stream& random, uint64_t mean_ns) {
  for (uint64_t whole = 0;; ++whole) {
    auto first = random.below(1u << 31);
    auto last = first;
    auto falling = 1u;
    for (auto next = random.below(1u << 31); next < last; next = random.below(1u << 31)) {
      last = next;
      ++falling;
    }
    if (falling % 2 == 1)
      return whole * mean_ns + (mean_ns >> 31) * first + (((mean_ns & 0x7fffffff) * first) >> 31);
  }
}

} // namespace perigee::sim
