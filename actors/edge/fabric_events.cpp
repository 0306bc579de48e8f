// SPDX-License-Identifier: Apache-2.0
#include "actors/edge/fabric_events.hpp"

#include <caf/actor_cast.hpp>
#include <caf/send.hpp>

#include <utility>

namespace perigee {

fabric_forwarder::fabric_forwarder(caf::actor_addr to) : to_(std::move(to)) {}

void fabric_forwarder::completed(uint64_t id, status result, uint64_t bytes) {
  pass_on(fabric_completed{id, std::move(result), bytes});
}

void fabric_forwarder::arrived(transport::peer_id from, uint32_t immediate) {
  pass_on(fabric_arrived{from, immediate});
}

void fabric_forwarder::fenced(transport::peer_id peer) {
  pass_on(fabric_fenced{peer});
}

template <class Message>
void fabric_forwarder::pass_on(Message message) {
  if (auto to = caf::actor_cast<caf::strong_actor_ptr>(to_))
    caf::anon_send(caf::actor_cast<caf::actor>(to), std::move(message));
}

} // namespace perigee
