// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/interfaces.hpp"
#include "actors/core/node_messages.hpp"

#include <caf/event_based_actor.hpp>
#include <caf/stateful_actor.hpp>

#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace perigee {

/// Another node of the cluster file.
struct peer_place {
  uint32_t node = 0;
  std::string name;
  std::string host;
  uint16_t control = 0;
};

struct membership_options {
  node_hello hello; ///< ours; `node` is filled in
  std::vector<peer_place> others;
  caf::timespan reconnect = std::chrono::milliseconds{300};
  /// News for people, one sentence each; called from the actor.
  std::function<void(const std::string&)> report;
  /// An actor came or went (`handle` is null then); called from the actor.
  std::function<void(const peer_up&)> on_peer;
};

/// The node actor: connects to all other nodes, exchanges hellos, tells every local actor who is there and who is gone. An edge:
/// it uses CAF's network.
class membership_state {
public:
  static inline constexpr const char* name = "node";

  membership_state(caf::event_based_actor* self, membership_options options);

  caf::behavior make_behavior();

private:
  struct known_node {
    address who;
    caf::actor handle;
    std::vector<peer_up> actors;
  };

  void connect(const peer_place& place);
  void connect_later(const peer_place& place);
  void greet(const caf::actor& node, bool answer_wanted);
  void on_hello(const node_hello& hello);
  void on_down(const caf::actor_addr& gone);
  void on_local_down(const caf::actor_addr& gone);
  void take_over(known_node& known, const node_hello& hello);
  void forget(uint32_t node);
  void tell_all(const peer_up& news);
  void tell_all(const peer_down& news);

  caf::event_based_actor* self_;
  membership_options options_;
  std::map<uint32_t, known_node> nodes_;
  std::map<caf::actor_addr, uint32_t> watched_; // looked up only
};

using membership = caf::stateful_actor<membership_state>;

} // namespace perigee
