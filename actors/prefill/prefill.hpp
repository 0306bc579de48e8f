// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/interfaces.hpp"
#include "actors/prefill/prefill_core.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

namespace perigee {

/// The actors that stand beside a prefill instance on its node.
struct prefill_neighbours {
  store_client_actor store;
  transport_actor transport;
  stream_actor stream;
};

/// A prefill instance as an actor: peers, timers and neighbours around `prefill_core`.
class prefill_state {
public:
  static inline constexpr const char* name = "prefill";

  prefill_state(prefill_actor::pointer self, prefill_options options, prefill_neighbours beside);

  prefill_actor::behavior_type make_behavior();

  const prefill_core& core() const {
    return core_;
  }

private:
  template <class Message>
  void handle(const Message& message);
  void flush();

  prefill_actor::pointer self_;
  timing times_;
  prefill_neighbours beside_;
  directory peers_;
  prefill_core core_;
};

using prefill = prefill_actor::stateful_impl<prefill_state>;

} // namespace perigee
