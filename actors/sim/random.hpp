// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/base/spread_key.hpp"

#include <cstdint>
#include <string_view>

namespace perigee::sim {

/// A counter-based generator whose numbers are the same on every machine (no `std` distribution is used anywhere here).
class random_stream {
public:
  explicit random_stream(uint64_t seed) : seed_(spread_key(seed, 0x7065726967656500u)) {}

  uint64_t next() noexcept {
    return spread_key(seed_, ++drawn_);
  }

  /// In [0, bound); 0 for a bound of 0. The bias of the remainder is below bound / 2^64.
  uint64_t below(uint64_t bound) noexcept {
    return bound == 0 ? 0 : next() % bound;
  }

  /// In [low, high], both included.
  uint64_t between(uint64_t low, uint64_t high) noexcept {
    return low >= high ? low : low + below(high - low + 1);
  }

  /// True with `ppm` millionths. Draws nothing for 0, so that a fault that is off leaves the sequence alone.
  bool chance(uint32_t ppm) noexcept {
    return ppm != 0 && below(1'000'000) < ppm;
  }

private:
  uint64_t seed_;
  uint64_t drawn_ = 0;
};

/// The seed of an own sequence for one purpose, so that a change in one draws nothing from another.
constexpr uint64_t derived_seed(uint64_t seed, std::string_view purpose) noexcept {
  auto result = seed;
  for (auto letter : purpose)
    result = spread_key(result, static_cast<unsigned char>(letter) + 1u);
  return result;
}

} // namespace perigee::sim
