// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace perigee {

/// Chunked pipeline parallelism: the layers of a long prompt are split among prefill instances that are idle, reserved
/// as a whole for this request; chunk i is at stage s while chunk i + 1 is at stage s - 1. A policy that has a constant
/// `groups` wants it unless the cluster file says otherwise. Pure.
struct pipelining {
  uint32_t uncached_tokens_min = 8192; ///< of prompts that are worth it
  uint32_t stages_max = 4;             ///< instances of one group; 1: nobody shares
  uint32_t chunk_tokens = 512;
  friend bool operator==(const pipelining&, const pipelining&) = default;
};

} // namespace perigee
