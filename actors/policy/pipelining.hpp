// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace perigee {

/// Chunked pipeline parallelism: the layers of a long prompt are split among prefill instances that are idle, reserved
/// as a whole for this request; chunk i is at stage s while chunk i + 1 is at stage s - 1. Pure.
struct pipelining {
  uint32_t uncached_tokens_min = 16'384; ///< of prompts that are worth it
  uint32_t stages_max = 8;               ///< instances of one group
  uint32_t chunk_tokens = 2048;
};

} // namespace perigee
