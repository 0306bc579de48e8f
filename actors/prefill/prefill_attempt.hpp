// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/handover_messages.hpp"
#include "actors/prefill/group_part.hpp"
#include "actors/prefill/layer_ring.hpp"

#include <map>
#include <optional>
#include <set>
#include <vector>

namespace perigee {

/// Of one message whose answer needs no work on the other side.
inline constexpr auto prefill_tries_max = 40u;

/// What an attempt has beside whose prompt is computed layer by layer.
struct layered_part {
  layer_ring ring;
  uint32_t layer = 0;                 ///< the next to be computed
  uint64_t passage = 0;               ///< the stream's, once it began
  uint32_t offered = 0;               ///< the first block that is offered to a shard
  std::map<uint64_t, uint32_t> moves; ///< transfers to decode that read the ring, and which layer
};

/// One attempt at a prefill instance, from job to release; or the part of a stage in one, whose `job` is then the head's,
/// with no choices. Blocks and positions count from the start of the prompt.
struct prefill_attempt {
  enum class stage : uint8_t {
    queued,    ///< has no slots yet
    fetching,  ///< the store client reads the prefix
    ready,     ///< waits for the stream
    computing, ///< chunks run, or wait between chunks
    computed,  ///< everything is computed and sampled; hand-over and publishing go on
    closing,   ///< cancelled or failed: waits until nothing touches its slots
  };
  enum class grant : uint8_t { none, asked, redirecting, granted, joined };

  prefill_job job;
  stage at = stage::queued;
  grant decode_side = grant::none;
  bool decode_knows = false; ///< a `reserve` was sent to `job.decode`: it must hear of the end
  uint64_t number = 0;       ///< local id for fetch and publish
  uint64_t arrived_ns = 0;
  uint64_t deadline_ns = 0;
  shared_list<block_key> keys;
  std::vector<uint32_t> slots; ///< of the pool; lent ones are higher; `no_slot`: of a block that never lies whole in the pool
  bool by_layer = false;       ///< it is, or will be, computed layer by layer
  std::vector<uint32_t> ring_slots; ///< for that, beside `slots`
  std::optional<layered_part> layered; ///< once the prefix is here
  bool borrowed = false;       ///< some are lent, and to be given back
  uint32_t reused = 0;    ///< tokens not computed
  uint32_t fetched = 0;   ///< blocks that came from shards
  uint32_t submitted = 0; ///< tokens whose KV is in the pool or being computed
  std::vector<token_id> first_tokens;
  bool finished_here = false; ///< every choice ended with its first token
  bool announced = false;     ///< handed_over was sent
  bool publishing = false;
  bool will_store = false; ///< its blocks are among the instance's `coming_blocks`
  bool fetching = false;
  ec failure = ec::none; ///< why it is closing
  bool tell_session = false;
  std::optional<address> cancel_asked_by;
  granted where;
  struct write {
    uint32_t block_first = 0;
    uint32_t block_last = 0; ///< one past
    kernels::layer_span layers;
  };
  std::vector<write> pending; ///< computed, and not handed to the transport yet
  std::set<uint64_t> moves;   ///< transfers in flight
  std::set<uint64_t> work;    ///< stream items in flight
  bool clean = true;          ///< no write ended in an error after which it may still land
  uint32_t pieces = 0;
  uint64_t bytes = 0;
  uint64_t busy_ns = 0;
  uint64_t fetch_since_ns = 0;
  uint32_t fetch_remote = 0; ///< blocks asked of other nodes
  uint64_t retry_ns = 0;
  uint32_t tries = 0;
  std::optional<group_part> part; ///< if a group computes it

  bool is_stage() const noexcept {
    return part && !part->is_head();
  }

  /// Its numbers at the store client.
  uint64_t fetch_id() const noexcept {
    return number * 2;
  }
  uint64_t publish_id() const noexcept {
    return number * 2 + 1;
  }
  static uint64_t number_of(uint64_t store_id) noexcept {
    return store_id / 2;
  }
};

} // namespace perigee
