// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/error.hpp"
#include "actors/core/ids.hpp"
#include "actors/core/inspect_kernels.hpp"
#include "actors/core/store_messages.hpp"

#include <vector>

namespace perigee {

// Chunked pipeline parallelism: the prefill instances that share the layers of one long prompt. The *head* is the one
// that the placement names; it runs the last layers and answers for the attempt. docs/protocol.md has a row for each
// message.

/// The group of one attempt; without others there is none.
struct pipeline {
  std::vector<address> others; ///< who runs the first layers first; the head comes after them
  uint32_t chunk_tokens = 0;
};

/// Blocks that somebody is to write into: `slots[i]` for block i. A write ends in the immediate that counts it.
struct write_target {
  address who;
  transport::remote_region region;
  std::vector<uint32_t> slots;
  std::vector<uint32_t> immediates; ///< one, or one for each chunk
};

/// Asks an instance to be a stage of an attempt's group, and to fetch its layers of the prefix. Initiator: head, when
/// it admits the job; repeated until `stage_ready` or `stage_left`.
struct stage_job {
  address from;
  ticket id;
  uint32_t stage = 0;
  uint32_t stages = 0;
  uint32_t chunk_tokens = 0;
  address before; ///< who runs the layers before those, and will write here; not valid for the first stage
  shared_list<token_id> tokens;
  std::vector<prefix_segment> prefix;
  std::vector<block_key> keys; ///< of the blocks that `prefix` names
  uint64_t deadline_ns = 0;    ///< from now
};

/// The instance has slots for the attempt, and the prefix as far as it can be had.
struct stage_ready {
  address from;
  ticket id;
  uint32_t blocks = 0; ///< of the prefix
  write_target here;   ///< for the stage before it: each chunk's activations have an immediate
};

/// All stages are ready, and decode has granted slots: begin after `reused` tokens. Initiator: head; repeated until
/// `stage_progress`, and from then on now and then, to hear whether the stage lives.
struct stage_go {
  address from;
  ticket id;
  uint32_t reused = 0;
  write_target decode; ///< for the KV of this stage's layers
  write_target next;   ///< for the activations
};

/// Answer to `stage_go`; and once the stage has computed its part, or failed, repeated until `stage_release`.
struct stage_progress {
  address from;
  ticket id;
  uint32_t computed = 0; ///< tokens of the prompt
  bool done = false;     ///< `pieces` and `bytes` are all that it writes to decode
  uint32_t pieces = 0;
  uint64_t bytes = 0;
  uint64_t busy_ns = 0;
  ec failure = ec::none;
};

/// The stage is not needed any more: whoever writes to it has left. Initiator: head; repeated until `stage_left`.
struct stage_release {
  address from;
  ticket id;
  bool fence = false;       ///< the stage before it may still write: fence it first
  uint32_t block_first = 0; ///< of what is to be gathered
  write_target gather;      ///< where the head keeps the blocks that go to a shard; no slots: nothing is to be gathered
};

/// The stage holds nothing of the attempt any more. Answer to `stage_release`; repeated until `stage_left_ack`. Not
/// `clean`: a write of it ended in an error after which it may still land. Refuses a `stage_job`, too.
struct stage_left {
  address from;
  ticket id;
  bool clean = true;
  uint32_t pieces = 0; ///< written to `gather`
};

struct stage_left_ack {
  address from;
  ticket id;
};

template <class Inspector>
bool inspect(Inspector& f, pipeline& x) {
  return f.object(x).fields(f.field("others", x.others), f.field("chunk_tokens", x.chunk_tokens));
}

template <class Inspector>
bool inspect(Inspector& f, write_target& x) {
  return f.object(x).fields(f.field("who", x.who), f.field("region", x.region), f.field("slots", x.slots),
                            f.field("immediates", x.immediates));
}

template <class Inspector>
bool inspect(Inspector& f, stage_job& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("id", x.id), f.field("stage", x.stage),
                            f.field("stages", x.stages), f.field("chunk_tokens", x.chunk_tokens),
                            f.field("before", x.before), f.field("tokens", x.tokens), f.field("prefix", x.prefix),
                            f.field("keys", x.keys), f.field("deadline_ns", x.deadline_ns));
}

template <class Inspector>
bool inspect(Inspector& f, stage_ready& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("id", x.id), f.field("blocks", x.blocks),
                            f.field("here", x.here));
}

template <class Inspector>
bool inspect(Inspector& f, stage_go& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("id", x.id), f.field("reused", x.reused),
                            f.field("decode", x.decode), f.field("next", x.next));
}

template <class Inspector>
bool inspect(Inspector& f, stage_progress& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("id", x.id), f.field("computed", x.computed),
                            f.field("done", x.done), f.field("pieces", x.pieces), f.field("bytes", x.bytes),
                            f.field("busy_ns", x.busy_ns), f.field("failure", x.failure));
}

template <class Inspector>
bool inspect(Inspector& f, stage_release& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("id", x.id), f.field("fence", x.fence),
                            f.field("block_first", x.block_first), f.field("gather", x.gather));
}

template <class Inspector>
bool inspect(Inspector& f, stage_left& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("id", x.id), f.field("clean", x.clean),
                            f.field("pieces", x.pieces));
}

template <class Inspector>
bool inspect(Inspector& f, stage_left_ack& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("id", x.id));
}

} // namespace perigee
