// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/membership.hpp"
#include "actors/core/routing_messages.hpp"

#include <string>
#include <vector>

namespace perigee {

// What people and programs may ask. Pure queries: request and response.

/// One actor as the Conductor sees it.
struct member_status {
  address who;
  bool alive = false;
  report last;
  uint64_t queue_ns = 0;        ///< predicted, with reservations
  uint32_t placed = 0;          ///< requests placed here and not ended
  uint64_t tokens_reserved = 0; ///< decode
  uint64_t blocks = 0;          ///< shards: blocks in the prefix index
};

/// One routing decision, kept for the newest few thousand requests.
struct decision_record {
  ticket id;
  uint64_t at_ns = 0;
  route_query query;
  route_decision decision;
  std::string policy; ///< that decided: the one of the configuration, or what stood in for it
};

struct cluster_status {
  address conductor;
  uint64_t term = 0;
  std::string policy;
  uint32_t waiting = 0; ///< requests without a place
  uint64_t placements = 0;
  uint64_t rejections = 0;
  uint64_t redirections = 0;
  std::vector<member_status> members;
};

/// Counters of a session actor, for the gateway's metrics.
struct session_status {
  uint32_t open = 0;
  uint32_t waiting = 0; ///< of those, not placed yet
  uint64_t requests = 0;
  uint64_t resubmitted = 0;
  uint64_t prompt_tokens = 0;
  uint64_t cached_tokens = 0;
  bool conductor_known = false; ///< a Conductor said hello and has not been lost since
};

/// Counters of a transport actor.
struct transport_status {
  uint64_t provider_bytes = 0;
  uint64_t copied_bytes = 0;
  uint64_t failed_transfers = 0;
  uint64_t fences = 0;
  uint32_t in_flight = 0;
};

template <class Inspector>
bool inspect(Inspector& f, member_status& x) {
  return f.object(x).fields(f.field("who", x.who), f.field("alive", x.alive), f.field("last", x.last),
                            f.field("queue_ns", x.queue_ns), f.field("placed", x.placed),
                            f.field("tokens_reserved", x.tokens_reserved), f.field("blocks", x.blocks));
}

template <class Inspector>
bool inspect(Inspector& f, decision_record& x) {
  return f.object(x).fields(f.field("id", x.id), f.field("at_ns", x.at_ns), f.field("query", x.query),
                            f.field("decision", x.decision), f.field("policy", x.policy));
}

template <class Inspector>
bool inspect(Inspector& f, cluster_status& x) {
  return f.object(x).fields(f.field("conductor", x.conductor), f.field("term", x.term), f.field("policy", x.policy),
                            f.field("waiting", x.waiting), f.field("placements", x.placements),
                            f.field("rejections", x.rejections), f.field("redirections", x.redirections),
                            f.field("members", x.members));
}

template <class Inspector>
bool inspect(Inspector& f, session_status& x) {
  return f.object(x).fields(f.field("open", x.open), f.field("waiting", x.waiting), f.field("requests", x.requests),
                            f.field("resubmitted", x.resubmitted), f.field("prompt_tokens", x.prompt_tokens),
                            f.field("cached_tokens", x.cached_tokens), f.field("conductor_known", x.conductor_known));
}

template <class Inspector>
bool inspect(Inspector& f, transport_status& x) {
  return f.object(x).fields(f.field("provider_bytes", x.provider_bytes), f.field("copied_bytes", x.copied_bytes),
                            f.field("failed_transfers", x.failed_transfers), f.field("fences", x.fences),
                            f.field("in_flight", x.in_flight));
}

} // namespace perigee
