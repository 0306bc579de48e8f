// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/ids.hpp"
#include "actors/core/inspect_kernels.hpp"

#include <optional>
#include <vector>

namespace perigee {

// Between an actor and its node's transport actor. Local.

/// One transfer between a local region and a region of an actor's node. `id` is the client's own number.
struct move_blocks {
  uint64_t id = 0;
  address peer; ///< whose memory; its node decides the endpoint, its incarnation that nothing goes to a successor
  transport::direction op = transport::direction::write;
  uint32_t local = 0; ///< region of this node's fabric
  transport::remote_region remote;
  std::vector<transport::piece> pieces;
  std::optional<uint32_t> immediate;
  uint64_t deadline_ns = 0; ///< from now
};

/// Exactly once per `move_blocks`, to its sender. Afterwards local memory is not touched. Of a write that failed,
/// neither is remote memory, unless the code is `peer_lost` or `timed_out`: then only a fence on the other side proves
/// it. A write that went well has left here; that it arrived is proven by its immediate alone. `exhausted`: it never
/// started.
struct moved {
  uint64_t id = 0;
  status outcome;
  uint64_t bytes = 0;
};

struct cancel_move {
  uint64_t id = 0;
};

/// A peer wrote into our memory with this number; `lane_of(immediate)` says to which client it goes.
struct arrived {
  uint32_t immediate = 0;
};

/// An immediate is lane (6 bits), index (14 bits), generation (12 bits). A lane belongs to one client of the transport
/// actor, index and generation to one inbound transfer of that client.
constexpr uint32_t make_immediate(uint32_t lane, uint32_t index, uint32_t generation) noexcept {
  return lane << 26 | (index & 0x3fff) << 12 | (generation & 0xfff);
}
constexpr uint32_t lane_of(uint32_t immediate) noexcept {
  return immediate >> 26;
}
constexpr uint32_t index_of(uint32_t immediate) noexcept {
  return immediate >> 12 & 0x3fff;
}
inline constexpr size_t immediate_indices = size_t{1} << 14;

/// Asks that no write of that actor's node can land any more. Answered with `node_fenced` when so. The pair of nodes
/// gets a new endpoint afterwards if the other side still lives.
struct fence_node {
  uint64_t id = 0;
  address peer;
};

struct node_fenced {
  uint64_t id = 0;
};

/// Between transport actors of two nodes: "to reach me, use `endpoint`". A higher epoch replaces the lower: the
/// receiver fences what it had for the sender and answers with its own hello. Repeated by its initiator until
/// acknowledged. The node with the lower number leads; a follower's hello without endpoint asks it for a new one
/// (actors/transfer/fabric_link.hpp).
struct fabric_hello {
  address from;
  uint64_t epoch = 0;   ///< counts the sender's endpoints for the receiver
  std::string endpoint; ///< transport::fabric::local_address
  uint64_t peer_epoch =
    0; ///< from the follower: the endpoint this answers; from the leader: the last request it has seen
};

struct fabric_hello_ack {
  address from;
  uint64_t epoch = 0;
};

// From the fabric's thread to the transport actor. Local.

struct fabric_completed {
  uint64_t id = 0;
  status outcome;
  uint64_t bytes = 0;
};

struct fabric_arrived {
  uint32_t peer = 0;
  uint32_t immediate = 0;
};

struct fabric_fenced {
  uint32_t peer = 0;
};

template <class Inspector>
bool inspect(Inspector& f, move_blocks& x) {
  return f.object(x).fields(f.field("id", x.id), f.field("peer", x.peer), f.field("op", x.op),
                            f.field("local", x.local), f.field("remote", x.remote), f.field("pieces", x.pieces),
                            f.field("immediate", x.immediate), f.field("deadline_ns", x.deadline_ns));
}

template <class Inspector>
bool inspect(Inspector& f, moved& x) {
  return f.object(x).fields(f.field("id", x.id), f.field("outcome", x.outcome), f.field("bytes", x.bytes));
}

template <class Inspector>
bool inspect(Inspector& f, cancel_move& x) {
  return f.object(x).fields(f.field("id", x.id));
}

template <class Inspector>
bool inspect(Inspector& f, arrived& x) {
  return f.object(x).fields(f.field("immediate", x.immediate));
}

template <class Inspector>
bool inspect(Inspector& f, fence_node& x) {
  return f.object(x).fields(f.field("id", x.id), f.field("peer", x.peer));
}

template <class Inspector>
bool inspect(Inspector& f, node_fenced& x) {
  return f.object(x).fields(f.field("id", x.id));
}

template <class Inspector>
bool inspect(Inspector& f, fabric_hello& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("epoch", x.epoch), f.field("endpoint", x.endpoint),
                            f.field("peer_epoch", x.peer_epoch));
}

template <class Inspector>
bool inspect(Inspector& f, fabric_hello_ack& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("epoch", x.epoch));
}

template <class Inspector>
bool inspect(Inspector& f, fabric_completed& x) {
  return f.object(x).fields(f.field("id", x.id), f.field("outcome", x.outcome), f.field("bytes", x.bytes));
}

template <class Inspector>
bool inspect(Inspector& f, fabric_arrived& x) {
  return f.object(x).fields(f.field("peer", x.peer), f.field("immediate", x.immediate));
}

template <class Inspector>
bool inspect(Inspector& f, fabric_fenced& x) {
  return f.object(x).fields(f.field("peer", x.peer));
}

} // namespace perigee
