// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace perigee {

/// The `n`-th of a sequence of well-spread, distinct 64-bit numbers (SplitMix64 with its published constants).
constexpr uint64_t spread_key(uint64_t seed, uint64_t n) noexcept {
  auto z = seed + n * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

} // namespace perigee
