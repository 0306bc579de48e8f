// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/pipeline_messages.hpp"

#include <algorithm>
#include <vector>

namespace perigee {

/// What an attempt has beside at an instance while a group computes it: chunk i goes through the stages one after the
/// other, each runs its own layers of it. What a stage makes of a chunk lies in the chunk's blocks, in the place of
/// layers that are not its own, and is written to the same place of the next stage.
struct group_part {
  uint32_t stage = 0;
  uint32_t stages = 0;
  kernels::layer_span layers;
  uint32_t chunk_tokens = 0;
  bool going = false;               ///< slots are granted and known to all: chunks run
  uint32_t chunk = 0;               ///< number of the next one
  std::vector<uint32_t> immediates; ///< by chunk: what says that its activations are here
  std::vector<uint32_t> arrived;    ///< those that came
  uint32_t fences = 0;              ///< that were asked for and not answered

  // of the head: the other stages, first layers first
  struct member {
    enum class stage : uint8_t { asked, ready, going, done, releasing, left };
    address who;
    stage at = stage::asked;
    stage_ready place;
    stage_progress news;
    bool clean = true;
    uint32_t gathered = 0; ///< pieces
    bool heard = false;    ///< it knows that it goes
    uint64_t retry_ns = 0;
    uint32_t tries = 0;
  };
  std::vector<member> members;
  std::vector<prefix_segment> plan; ///< of the prefix, for all
  uint32_t plan_blocks = 0;
  uint32_t gather = 0; ///< immediate of what the stages write into the head's blocks at the end
  uint32_t gather_arrived = 0;
  bool gathering = false;   ///< the blocks will be offered to a shard when all layers are here
  bool reported = false;    ///< to the Conductor, that it is computed
  uint64_t moved_on_ns = 0; ///< when something was heard of that went on

  // of a stage
  address before;    ///< who writes its activations here
  write_target next; ///< where this one's go
  bool done = false;
  bool released = false;    ///< the head says that nobody writes here any more
  bool orphaned = false;    ///< the head is gone
  bool asks_before = false; ///< whether the stage before it is over
  uint32_t gathered = 0;    ///< pieces written to the head
  uint64_t retry_ns = 0;

  bool is_head() const noexcept {
    return stage + 1 == stages;
  }
  /// Whether the next chunk's activations are here.
  bool has_input() const {
    return stage == 0
           || (chunk < immediates.size()
               && std::find(arrived.begin(), arrived.end(), immediates[chunk]) != arrived.end());
  }
  bool all(member::stage least) const {
    return std::all_of(members.begin(), members.end(), [&](const member& it) { return it.at >= least; });
  }
  member* find(const address& who) {
    auto at = std::find_if(members.begin(), members.end(), [&](const member& it) { return it.who == who; });
    return at == members.end() ? nullptr : &*at;
  }
};

/// The most chunks that a prompt of so many tokens can be cut into.
constexpr uint32_t chunks_max(uint32_t tokens, uint32_t chunk_tokens) noexcept {
  return tokens / chunk_tokens + 2;
}

} // namespace perigee
