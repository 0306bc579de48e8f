// SPDX-License-Identifier: Apache-2.0
#include "actors/node/membership.hpp"

#include <caf/actor_cast.hpp>
#include <caf/actor_system.hpp>
#include <caf/io/middleman.hpp>
#include <caf/io/middleman_actor.hpp>
#include <caf/send.hpp>

#include <algorithm>
#include <set>
#include <utility>

namespace perigee {

membership_state::membership_state(caf::event_based_actor* self, membership_options options)
  : self_(self), options_(std::move(options)) {
  options_.hello.node = self_;
}

caf::behavior membership_state::make_behavior() {
  self_->set_down_handler([this](const caf::down_msg& news) {
    on_down(news.source);
    on_local_down(news.source);
  });
  for (const auto& item : options_.hello.actors) {
    self_->monitor(item.handle);
    options_.on_peer(item);
  }
  for (const auto& place : options_.others)
    connect(place);
  return {
    [this](const node_hello& hello) { on_hello(hello); },
    [this](atom::tick, uint32_t node) {
      for (const auto& place : options_.others)
        if (place.node == node)
          connect(place);
    },
  };
}

// -- connecting -------------------------------------------------------------------------------------------------------

void membership_state::connect(const peer_place& place) {
  auto broker = self_->system().middleman().actor_handle();
  self_->request(broker, caf::infinite, caf::connect_atom_v, place.host, place.control)
    .then(
      [this, place](const caf::node_id&, const caf::strong_actor_ptr& remote, const std::set<std::string>&) {
        if (!remote)
          return connect_later(place);
        auto node = caf::actor_cast<caf::actor>(remote);
        watched_[node.address()] = place.node;
        self_->monitor(node);
        greet(node, true);
      },
      [this, place](const caf::error&) { connect_later(place); });
}

void membership_state::connect_later(const peer_place& place) {
  self_->delayed_send(self_, options_.reconnect, atom::tick_v, place.node);
}

void membership_state::greet(const caf::actor& node, bool answer_wanted) {
  auto hello = options_.hello;
  hello.answer_wanted = answer_wanted;
  self_->send(node, std::move(hello));
}

void membership_state::on_hello(const node_hello& hello) {
  const auto& own = options_.hello;
  auto place = std::find_if(options_.others.begin(), options_.others.end(),
                            [&](const peer_place& item) { return item.node == hello.from.node; });
  auto refuse = [&](const std::string& why) { options_.report("node " + hello.name + " is refused: " + why); };
  if (place == options_.others.end() || place->name != hello.name)
    return refuse("this cluster file has no such node in that place");
  if (hello.version != own.version)
    return refuse("it speaks wire version " + std::to_string(hello.version) + ", this node "
                  + std::to_string(own.version));
  if (hello.cluster != own.cluster)
    return refuse("it serves " + hello.cluster + ", this node " + own.cluster);
  if (hello.answer_wanted)
    greet(hello.node, false);
  auto [known, fresh] = nodes_.try_emplace(hello.from.node);
  if (!fresh && known->second.who.incarnation >= hello.from.incarnation)
    return;
  if (fresh)
    options_.report("node " + hello.name + " is there");
  watched_[hello.node.address()] = hello.from.node;
  self_->monitor(hello.node);
  take_over(known->second, hello);
}

/// What is new is up, what is missing is down: a node that restarted has all its actors under new addresses, one that lost
/// an instance says so with a shorter list.
void membership_state::take_over(known_node& known, const node_hello& hello) {
  auto lists = [](const std::vector<peer_up>& actors, const address& who) {
    return std::any_of(actors.begin(), actors.end(), [&](const peer_up& item) { return item.who == who; });
  };
  auto before = std::exchange(known, known_node{hello.from, hello.node, hello.actors});
  for (const auto& item : before.actors)
    if (!lists(hello.actors, item.who))
      tell_all(peer_down{item.who});
  for (const auto& item : hello.actors)
    if (!lists(before.actors, item.who))
      tell_all(item);
}

// -- losing -----------------------------------------------------------------------------------------------------------

void membership_state::on_down(const caf::actor_addr& gone) {
  auto at = watched_.find(gone);
  if (at == watched_.end())
    return;
  auto node = at->second;
  watched_.erase(at);
  auto known = nodes_.find(node);
  if (known != nodes_.end() && known->second.handle.address() == gone) {
    auto place = std::find_if(options_.others.begin(), options_.others.end(),
                              [&](const peer_place& item) { return item.node == node; });
    options_.report("node " + place->name + " is gone");
    forget(node);
  }
  for (const auto& place : options_.others)
    if (place.node == node)
      connect_later(place);
}

void membership_state::forget(uint32_t node) {
  auto lost = std::move(nodes_.at(node));
  nodes_.erase(node);
  for (const auto& item : lost.actors)
    tell_all(peer_down{item.who});
}

/// One of our own actors ended: a device that broke. The others must hear of it.
void membership_state::on_local_down(const caf::actor_addr& gone) {
  auto& own = options_.hello.actors;
  auto at = std::find_if(own.begin(), own.end(), [&](const peer_up& item) { return item.handle.address() == gone; });
  if (at == own.end())
    return;
  auto who = at->who;
  own.erase(at);
  options_.report(name_of(who) + " ended");
  tell_all(peer_down{who});
  options_.on_peer({who, {}});
  // A higher incarnation makes the peers take over the shorter list.
  ++options_.hello.from.incarnation;
  for (const auto& [node, known] : nodes_)
    greet(known.handle, false);
}

void membership_state::tell_all(const peer_up& news) {
  for (const auto& item : options_.hello.actors)
    caf::anon_send(item.handle, news);
  options_.on_peer(news);
}

void membership_state::tell_all(const peer_down& news) {
  for (const auto& item : options_.hello.actors)
    caf::anon_send(item.handle, news);
  options_.on_peer({news.who, {}});
}

} // namespace perigee
