// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/interfaces.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <utility>

namespace perigee {

/// Where a policy host listens.
struct remote_policy_options {
  std::string host;
  uint16_t port = 0;
  std::string cluster; ///< what the policy host calls us in its news
  caf::timespan reconnect = std::chrono::milliseconds{300};
  /// News for people, one sentence each; called from the actor.
  std::function<void(const std::string&)> report;
};

/// A policy to the Conductor, which hands every query to a policy of another process.
using remote_policy_actor = policy_actor::extend<
  // The policy host answers: its policy.
  caf::result<void>(node_hello),
  // The actor's own timer.
  caf::result<void>(atom::tick)>;

/// Connects to the policy host, again and again; tells each policy that it finds there all it knows of the instances, then every
/// change. While there is none it answers queries with an error at once, so that the Conductor decides by itself without
/// waiting. An edge: it uses CAF's network.
class remote_policy_state {
public:
  static inline constexpr const char* name = "remote-policy";

  remote_policy_state(remote_policy_actor::pointer self, remote_policy_options options);

  remote_policy_actor::behavior_type make_behavior();

private:
  void connect();
  void connect_later();
  void on_hello(const node_hello& hello);
  void on_down(const caf::actor_addr& gone);
  std::string place() const;

  remote_policy_actor::pointer self_;
  remote_policy_options options_;
  std::map<std::pair<role, uint32_t>, instance_load> loads_;
  caf::actor host_;     ///< null: not connected
  policy_actor policy_; ///< null: nobody to ask
  bool waiting_ = false; ///< a tick will come
};

using remote_policy = remote_policy_actor::stateful_impl<remote_policy_state>;

} // namespace perigee
