// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/sim/world.hpp"

#include <string>
#include <vector>

namespace perigee::sim {

/// Eight actors that tell each other random news for a while, by timers and through lossy links: enough to make the order of
/// events depend on everything that could differ between two runs.
struct gossip {
  explicit gossip(world& home);

  uint64_t heard() const;

private:
  std::vector<uint64_t> counts_;
};

/// Digest of one second of gossip.
std::string gossip_digest(uint64_t seed);

} // namespace perigee::sim
