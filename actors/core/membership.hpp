// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/ids.hpp"

#include <caf/actor.hpp>

namespace perigee {

/// The node actor tells every local actor about every other actor of the cluster, local ones included. Local.
struct peer_up {
  address who;
  caf::actor handle;
};

/// That incarnation is gone for good. Local; before the `peer_up` of its successor.
struct peer_down {
  address who;
};

/// A Conductor began its reign. Instances, shards and sessions obey only the highest term they heard of.
/// Initiator: Conductor, to each actor it learns of; repeated until the actor's report carries the term.
struct conductor_hello {
  address from;
  uint64_t term = 0;
};

/// Load of one actor, and what it did since the last acknowledged report. Sent to the Conductor when something ended, at
/// the report interval otherwise; the answer to `conductor_hello` is a full one, from which a new Conductor rebuilds its books.
struct load_item {
  ticket id;
  uint64_t tokens = 0;    ///< prefill: tokens still to compute; decode: KV tokens reserved
  uint64_t placement = 0; ///< number of the decision that brought it here
};

/// How long one prefill took, for the Conductor's estimator; also the news that it is computed.
struct prefill_sample {
  uint32_t tokens = 0; ///< prompt length
  uint32_t reused = 0; ///< tokens of it that were not computed
  uint64_t busy_ns = 0;
  ticket id;
};

/// How long one decode step took.
struct step_sample {
  uint32_t batch = 0;
  uint64_t context_tokens = 0;
  uint64_t busy_ns = 0;
};

/// How long it took to fetch a prefix from other nodes.
struct transfer_sample {
  uint64_t tokens = 0; ///< that came from other nodes
  uint64_t busy_ns = 0;
};

/// A prompt that a prefill instance computes together with others.
struct group_item {
  ticket id;
  std::vector<address> stages; ///< the others
};

struct report {
  address from;
  uint64_t term = 0;     ///< of the Conductor it is meant for
  uint64_t sequence = 0; ///< grows by one with each report of this incarnation
  bool full = false;     ///< `active` lists everything held; otherwise it is empty, and so is `groups`
  uint64_t token_capacity = 0; ///< tokens of KV that its pool holds
  uint32_t slots_total = 0;
  uint32_t slots_free = 0;
  uint32_t slots_transfer = 0; ///< granted, and a write may still land there
  uint32_t running = 0;
  uint32_t waiting = 0;
  uint64_t queued_tokens = 0;  ///< prefill: uncached tokens not computed yet; decode: KV tokens reserved
  uint32_t leases = 0;         ///< shards: blocks pinned by readers
  uint32_t twin = 0; ///< 1 + index of the decode (of a decode instance: prefill) instance on the same device; 0: none
  bool spare = false; ///< the device begins in the role of the twin
  uint32_t stages_max = 1; ///< of the largest group that a prefill instance can be in
  std::vector<load_item> active;
  std::vector<group_item> groups; ///< of `active`: those that others compute too
  std::vector<load_item> ended; ///< since the last acknowledged report
  std::vector<prefill_sample> prefills;
  std::vector<step_sample> steps;
  std::vector<transfer_sample> transfers;
};

/// Everything in reports up to `sequence` is in the Conductor's books.
struct report_ack {
  address from;
  uint64_t term = 0;
  uint64_t sequence = 0;
};

template <class Inspector>
bool inspect(Inspector& f, peer_up& x) {
  return f.object(x).fields(f.field("who", x.who), f.field("handle", x.handle));
}

template <class Inspector>
bool inspect(Inspector& f, peer_down& x) {
  return f.object(x).fields(f.field("who", x.who));
}

template <class Inspector>
bool inspect(Inspector& f, conductor_hello& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("term", x.term));
}

template <class Inspector>
bool inspect(Inspector& f, load_item& x) {
  return f.object(x).fields(f.field("id", x.id), f.field("tokens", x.tokens), f.field("placement", x.placement));
}

template <class Inspector>
bool inspect(Inspector& f, prefill_sample& x) {
  return f.object(x).fields(f.field("tokens", x.tokens), f.field("reused", x.reused), f.field("busy_ns", x.busy_ns),
                            f.field("id", x.id));
}

template <class Inspector>
bool inspect(Inspector& f, step_sample& x) {
  return f.object(x).fields(f.field("batch", x.batch), f.field("context_tokens", x.context_tokens),
                            f.field("busy_ns", x.busy_ns));
}

template <class Inspector>
bool inspect(Inspector& f, transfer_sample& x) {
  return f.object(x).fields(f.field("tokens", x.tokens), f.field("busy_ns", x.busy_ns));
}

template <class Inspector>
bool inspect(Inspector& f, group_item& x) {
  return f.object(x).fields(f.field("id", x.id), f.field("stages", x.stages));
}

template <class Inspector>
bool inspect(Inspector& f, report& x) {
  return f.object(x).fields(
    f.field("from", x.from), f.field("term", x.term), f.field("sequence", x.sequence), f.field("full", x.full),
    f.field("token_capacity", x.token_capacity), f.field("slots_total", x.slots_total), f.field("slots_free", x.slots_free),
    f.field("slots_transfer", x.slots_transfer), f.field("running", x.running), f.field("waiting", x.waiting),
    f.field("queued_tokens", x.queued_tokens), f.field("leases", x.leases), f.field("twin", x.twin), f.field("spare", x.spare),
    f.field("stages_max", x.stages_max), f.field("active", x.active), f.field("groups", x.groups),
    f.field("ended", x.ended), f.field("prefills", x.prefills), f.field("steps", x.steps),
    f.field("transfers", x.transfers));
}

template <class Inspector>
bool inspect(Inspector& f, report_ack& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("term", x.term), f.field("sequence", x.sequence));
}

} // namespace perigee
