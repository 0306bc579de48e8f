// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/interfaces.hpp"
#include "actors/policy/registry.hpp"

#include <caf/event_based_actor.hpp>
#include <caf/stateful_actor.hpp>

#include <functional>
#include <map>
#include <string>

namespace perigee {

struct policy_host_options {
  std::string policy; ///< its name
  policy_maker make;
  /// News for people, one sentence each; called from the actor.
  std::function<void(const std::string&)> report;
};

/// The door of a process that decides for Conductors elsewhere: each that introduces itself gets a policy of its own, which ends
/// with it.
class policy_host_state {
public:
  static inline constexpr const char* name = "policy-host";

  policy_host_state(caf::event_based_actor* self, policy_host_options options);
  /// Ends its policies.
  ~policy_host_state();

  caf::behavior make_behavior();

private:
  void on_hello(const node_hello& hello);
  void end_policy_of(const caf::actor_addr& guest);

  caf::event_based_actor* self_;
  policy_host_options options_;
  std::map<caf::actor_addr, policy_actor> policies_; ///< by who asks them; looked up only
};

using policy_host = caf::stateful_actor<policy_host_state>;

} // namespace perigee
