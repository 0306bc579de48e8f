// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/base/spread_key.hpp"

#include <cstdint>

namespace perigee {

/// The generator that a policy is handed: counter-based, the same numbers on every machine.
class policy_random {
public:
  policy_random() = default;
  explicit policy_random(uint64_t seed) : seed_(seed) {}

  /// In [0, bound); 0 for a bound of 0. The bias of the remainder is below bound / 2^64.
  uint64_t below(uint64_t bound) noexcept {
    return bound == 0 ? 0 : spread_key(seed_, ++drawn_) % bound;
  }

private:
  uint64_t seed_ = 0;
  uint64_t drawn_ = 0;
};

} // namespace perigee
