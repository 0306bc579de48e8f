// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/ids.hpp"
#include "actors/core/inspect_kernels.hpp"

#include <optional>
#include <vector>

namespace perigee {

// Between store clients (one beside each instance) and cache shards. Every operation has a number `op` that its client
// counts up; `open_from` is the client's lowest operation that is still open, so a shard forgets all below it and answers a
// late duplicate of one with nothing. Each request is repeated by the client until its answer came.

/// Asks to read the longest prefix of `keys` that the shard holds, and pins those blocks until `release`.
struct lease {
  address from;
  uint64_t op = 0;
  uint64_t open_from = 0;
  std::vector<block_key> keys;
};

/// `slots[i]` holds `keys[i]`; there may be fewer slots than keys, also none.
struct leased {
  address from;
  uint64_t op = 0;
  transport::remote_region region;
  std::vector<uint32_t> slots;
};

/// Ends a lease, or an allocation without commit. For an allocation it also says that no write of this client to its
/// slots can land any more (it has quiesced); where the client cannot know that, it sets `fence`, and the shard fences the
/// client's node before it frees the slots.
struct release {
  address from;
  uint64_t op = 0;
  uint64_t open_from = 0;
  bool fence = false;
};

struct released {
  address from;
  uint64_t op = 0;
};

/// Asks for a slot for each key that the shard does not hold yet.
struct allocate {
  address from;
  uint64_t op = 0;
  uint64_t open_from = 0;
  std::vector<block_key> keys;
};

/// One entry per key: the slot to write, or nothing where the shard has the block already or has no room for it.
inline constexpr uint32_t no_slot = UINT32_MAX;
struct allocated {
  address from;
  uint64_t op = 0;
  transport::remote_region region;
  std::vector<uint32_t> slots;
  uint32_t immediate = 0; ///< each write into the slots carries it
};

/// The client wrote the allocation's slots with `pieces` transfers. The shard makes the blocks visible once as many
/// immediates arrived, in whichever order the two facts come.
struct commit {
  address from;
  uint64_t op = 0;
  uint64_t open_from = 0;
  uint32_t pieces = 0;
};

struct committed {
  address from;
  uint64_t op = 0;
};

// Between a store client and a shard of the same node, whose pool its instance can read in place. Local, ordered, never
// lost.

/// Asks to read the longest prefix of `keys` that the shard holds where it lies, for as long as that takes. `id` is the
/// client's own; what is borrowed under it is added up.
struct borrow {
  address from;
  uint64_t id = 0;
  std::vector<block_key> keys;
};

/// Answers `borrow`: `slots[i]` holds `keys[i]` and stays as it is until `return_blocks`. `full`: more is there, but no
/// more may be lent now.
struct lent_blocks {
  address from;
  uint64_t id = 0;
  std::vector<uint32_t> slots;
  bool full = false;
};

/// Nobody reads what was borrowed under `id` any more.
struct return_blocks {
  address from;
  uint64_t id = 0;
};

/// A change of what a shard holds.
struct index_event {
  block_key key;
  bool stored = false; ///< otherwise evicted
};

/// Changes in order. `epoch` starts anew (with sequence 0 and everything the shard holds as `stored`) when a Conductor asks
/// for it with `index_resync` or the shard met a new term; `sequence` counts the events of the epoch before `events[0]`.
/// At most one batch is unacknowledged; the shard repeats it until acknowledged.
struct index_events {
  address from;
  uint64_t term = 0;
  uint64_t epoch = 0;
  uint64_t sequence = 0;
  std::vector<index_event> events;
};

/// `next` is the sequence number that the Conductor expects now. `resync` asks for a new epoch.
struct index_ack {
  address from;
  uint64_t term = 0;
  uint64_t epoch = 0;
  uint64_t next = 0;
  bool resync = false;
};

// Between an instance and the store client beside it. Local, ordered, never lost.

/// A run of blocks of one prefix at one shard.
struct prefix_segment {
  address shard;
  uint32_t blocks = 0;
};

/// Reads blocks into the slots of the instance's pool: `keys[i]` into `slots[i]`, from the shards that `plan` names in
/// order. Ends early at the first block that cannot be had. Always answered, within the deadline. `bytes` not 0: only
/// that part of each block, from `offset` on. Of the first `lend` blocks those at a shard whose pool the instance can
/// read in place may be lent instead, and those without a slot (`no_slot`) are had in no other way.
struct fetch {
  uint64_t id = 0;
  std::vector<block_key> keys;
  std::vector<uint32_t> slots;
  std::vector<prefix_segment> plan;
  uint64_t deadline_ns = 0;
  uint64_t offset = 0;
  uint64_t bytes = 0;
  uint32_t lend = 0;
};

/// The first `blocks` blocks are in their slots, but for those that are lent: `lent[i]` is `no_slot`, or where block i
/// is to be read. Empty where none is. No read into any of the slots goes on.
struct fetched {
  uint64_t id = 0;
  uint32_t blocks = 0;
  uint64_t bytes = 0;
  std::vector<uint32_t> lent = {};
};

/// What that fetch lent is not read any more: neither by the stream nor by a transfer. Once for each fetch that lent.
struct give_back {
  uint64_t id = 0; ///< of the fetch
};

/// Offers blocks of the instance's pool to a shard. The instance keeps the slots unchanged until `published`.
/// `no_slot`: a block that was lent, so it is at the local shard already.
struct publish {
  uint64_t id = 0;
  std::vector<block_key> keys;
  std::vector<uint32_t> slots;
  std::optional<uint32_t> shard = {}; ///< index of the one to give them to while it lives; by default the local one
  /// The blocks do not exist yet: they come in parts, each with a `publish_part`, and become visible with the last. All
  /// go to one shard. `slots` only says what was lent.
  bool in_parts = false;
};

/// So many bytes from `offset` on of every block of a publish in parts: of `keys[i]` at `places[i]` of the instance's
/// pool, in bytes. No two parts overlap. Always answered, with `part_published`, also after the publish ended.
struct publish_part {
  uint64_t id = 0; ///< of the publish
  uint64_t offset = 0;
  uint64_t bytes = 0;
  std::vector<uint64_t> places;
};

/// Nobody reads that part any more.
struct part_published {
  uint64_t id = 0;
  uint64_t offset = 0;
};

/// Nobody reads the slots for this operation any more; `stored` of the blocks are new at a shard.
struct published {
  uint64_t id = 0;
  uint32_t stored = 0;
};

/// Ends a fetch or publish early; it is still answered.
struct cancel_store {
  uint64_t id = 0;
};

template <class Inspector>
bool inspect(Inspector& f, lease& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("op", x.op), f.field("open_from", x.open_from),
                            f.field("keys", x.keys));
}

template <class Inspector>
bool inspect(Inspector& f, leased& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("op", x.op), f.field("region", x.region),
                            f.field("slots", x.slots));
}

template <class Inspector>
bool inspect(Inspector& f, release& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("op", x.op), f.field("open_from", x.open_from),
                            f.field("fence", x.fence));
}

template <class Inspector>
bool inspect(Inspector& f, released& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("op", x.op));
}

template <class Inspector>
bool inspect(Inspector& f, allocate& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("op", x.op), f.field("open_from", x.open_from),
                            f.field("keys", x.keys));
}

template <class Inspector>
bool inspect(Inspector& f, allocated& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("op", x.op), f.field("region", x.region),
                            f.field("slots", x.slots), f.field("immediate", x.immediate));
}

template <class Inspector>
bool inspect(Inspector& f, commit& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("op", x.op), f.field("open_from", x.open_from),
                            f.field("pieces", x.pieces));
}

template <class Inspector>
bool inspect(Inspector& f, committed& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("op", x.op));
}

template <class Inspector>
bool inspect(Inspector& f, borrow& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("id", x.id), f.field("keys", x.keys));
}

template <class Inspector>
bool inspect(Inspector& f, lent_blocks& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("id", x.id), f.field("slots", x.slots),
                            f.field("full", x.full));
}

template <class Inspector>
bool inspect(Inspector& f, return_blocks& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("id", x.id));
}

template <class Inspector>
bool inspect(Inspector& f, give_back& x) {
  return f.object(x).fields(f.field("id", x.id));
}

template <class Inspector>
bool inspect(Inspector& f, index_event& x) {
  return f.object(x).fields(f.field("key", x.key), f.field("stored", x.stored));
}

template <class Inspector>
bool inspect(Inspector& f, index_events& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("term", x.term), f.field("epoch", x.epoch),
                            f.field("sequence", x.sequence), f.field("events", x.events));
}

template <class Inspector>
bool inspect(Inspector& f, index_ack& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("term", x.term), f.field("epoch", x.epoch),
                            f.field("next", x.next), f.field("resync", x.resync));
}

template <class Inspector>
bool inspect(Inspector& f, prefix_segment& x) {
  return f.object(x).fields(f.field("shard", x.shard), f.field("blocks", x.blocks));
}

template <class Inspector>
bool inspect(Inspector& f, fetch& x) {
  return f.object(x).fields(f.field("id", x.id), f.field("keys", x.keys), f.field("slots", x.slots),
                            f.field("plan", x.plan), f.field("deadline_ns", x.deadline_ns),
                            f.field("offset", x.offset), f.field("bytes", x.bytes), f.field("lend", x.lend));
}

template <class Inspector>
bool inspect(Inspector& f, fetched& x) {
  return f.object(x).fields(f.field("id", x.id), f.field("blocks", x.blocks), f.field("bytes", x.bytes),
                            f.field("lent", x.lent));
}

template <class Inspector>
bool inspect(Inspector& f, publish& x) {
  return f.object(x).fields(f.field("id", x.id), f.field("keys", x.keys), f.field("slots", x.slots),
                            f.field("shard", x.shard), f.field("in_parts", x.in_parts));
}

template <class Inspector>
bool inspect(Inspector& f, publish_part& x) {
  return f.object(x).fields(f.field("id", x.id), f.field("offset", x.offset), f.field("bytes", x.bytes),
                            f.field("places", x.places));
}

template <class Inspector>
bool inspect(Inspector& f, part_published& x) {
  return f.object(x).fields(f.field("id", x.id), f.field("offset", x.offset));
}

template <class Inspector>
bool inspect(Inspector& f, published& x) {
  return f.object(x).fields(f.field("id", x.id), f.field("stored", x.stored));
}

template <class Inspector>
bool inspect(Inspector& f, cancel_store& x) {
  return f.object(x).fields(f.field("id", x.id));
}

} // namespace perigee
