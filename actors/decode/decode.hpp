// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/interfaces.hpp"
#include "actors/decode/decode_core.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

namespace perigee {

/// The actors that stand beside a decode instance on its node.
struct decode_neighbours {
  store_client_actor store;
  transport_actor transport;
  stream_actor stream;
};

/// A decode instance as an actor: peers, timers and neighbours around `decode_core`. Its lane comes from the transport
/// actor before anything else: until then everything waits in the mailbox.
class decode_state {
public:
  static inline constexpr const char* name = "decode";

  decode_state(decode_actor::pointer self, decode_options options, decode_neighbours beside);

  decode_actor::behavior_type make_behavior();

  const decode_core& core() const {
    return core_;
  }

private:
  template <class Message>
  void handle(const Message& message);
  void flush();

  decode_actor::pointer self_;
  timing times_;
  decode_neighbours beside_;
  directory peers_;
  decode_core core_;
};

using decode = decode_actor::stateful_impl<decode_state>;

} // namespace perigee
