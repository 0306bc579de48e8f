// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace perigee::sim {

/// The digest of one small replay.
std::string replay_digest(uint64_t seed);

} // namespace perigee::sim
