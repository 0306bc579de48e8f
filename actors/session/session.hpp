// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/interfaces.hpp"
#include "actors/session/session_core.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <boost/unordered/unordered_flat_map.hpp>

namespace perigee {

/// The session actor of one gateway: peers, timers and the edge around `session_core`.
class session_state {
public:
  static inline constexpr const char* name = "session";

  session_state(session_actor::pointer self, session_options options);

  session_actor::behavior_type make_behavior();

  const session_core& core() const {
    return core_;
  }

private:
  template <class Message>
  void handle(const Message& message);
  void flush();
  void set_edge(uint64_t client, caf::actor edge);
  void drop_edge(uint64_t client);
  void tell_edges();
  void tell_texts(client_texts news);

  session_actor::pointer self_;
  timing times_;
  directory peers_;
  session_core core_;
  boost::unordered_flat_map<uint64_t, caf::actor> edges_; // by client number; looked up only
  caf::actor one_edge_; // that of all clients, if they have the same
};

using session = session_actor::stateful_impl<session_state>;

} // namespace perigee
