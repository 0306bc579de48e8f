// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/replay/replay_digest.hpp"

#include "actors/sim/replay/replay.hpp"
#include "tests/sim/replay/drawn_trace.hpp"

namespace perigee::sim {

std::string replay_digest(uint64_t seed) {
  replay_options options;
  options.cluster.prefills = 2;
  options.cluster.decodes = 2;
  options.seed = seed;
  options.digest = true;
  return run_replay(drawn_trace(1, 80), options).digest;
}

} // namespace perigee::sim
