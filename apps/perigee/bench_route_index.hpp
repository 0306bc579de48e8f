// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/sim/trace/trace.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace perigee::cli {

/// Memory of the Conductor's prefix index.
struct index_memory {
  uint64_t blocks = 0;
  double block_bytes = 0;   ///< a block with one replica
  double replica_bytes = 0; ///< each further one, where blocks have 1 to 8, all numbers equally often, in random order
};

index_memory measure_index(uint64_t blocks);

/// The same requests without the first block that most of them share.
std::vector<sim::trace_request> without_shared_block(std::span<const sim::trace_request> trace);

} // namespace perigee::cli
