// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/conductor/conductor_core.hpp"
#include "actors/core/interfaces.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

namespace perigee {

/// The Conductor as an actor: peers, timers and the policy around `conductor_core`.
class conductor_state {
public:
  static inline constexpr const char* name = "conductor";

  conductor_state(conductor_actor::pointer self, conductor_options options, policy_actor policy);

  conductor_actor::behavior_type make_behavior();

  const conductor_core& core() const {
    return core_;
  }

private:
  template <class Message>
  void handle(const Message& message) {
    core_.on(now(), message);
    flush();
  }
  uint64_t now() const;
  void flush();
  void ask_policy();
  void watch_policy(caf::timespan wait);
  void decide_without_policy();

  conductor_actor::pointer self_;
  timing times_;
  policy_actor policy_;
  uint64_t asked_ = 0;    // placement that the policy was last asked about; 0: it has answered
  uint64_t asked_ns_ = 0; // when
  bool watching_ = false; // a timer looks after the answer
  directory peers_;
  conductor_core core_;
};

using conductor = conductor_actor::stateful_impl<conductor_state>;

} // namespace perigee
