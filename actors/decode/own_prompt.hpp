// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/error.hpp"
#include "actors/core/store_messages.hpp"

#include <cstdint>
#include <vector>

namespace perigee {

/// A prompt that a decode instance computes itself, from job to first token. Blocks and positions count from the start
/// of the prompt; its slots are those of the attempt.
struct own_prompt {
  enum class stage : uint8_t {
    queued,    ///< has no slots yet
    fetching,  ///< the store client reads the prefix
    ready,     ///< waits for the stream
    computing, ///< a chunk runs, or the next one waits for its turn
  };

  stage at = stage::queued;
  uint64_t number = 0; ///< local id for its fetch; in order of arrival
  uint64_t arrived_ns = 0;
  shared_list<block_key> keys;
  std::vector<prefix_segment> prefix;
  bool will_store = true; ///< its blocks are among the instance's `coming_blocks`
  bool fetching = false;
  uint64_t fetch_since_ns = 0;
  uint32_t fetch_remote = 0; ///< blocks asked of other nodes
  uint32_t fetched = 0;      ///< blocks that came from shards
  uint32_t reused = 0;       ///< tokens not computed
  uint32_t submitted = 0;    ///< tokens whose KV is in the pool or being computed
  uint64_t busy_ns = 0;
};

} // namespace perigee
