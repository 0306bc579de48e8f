// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace perigee {

/// The actor clock in nanoseconds: real in production, virtual in the simulator. The only clock actors read.
template <class Self>
uint64_t now_ns(Self& self) {
  return static_cast<uint64_t>(self.clock().now().time_since_epoch().count());
}

} // namespace perigee
