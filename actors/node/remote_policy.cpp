// SPDX-License-Identifier: Apache-2.0
#include "actors/node/remote_policy.hpp"

#include "actors/core/node_messages.hpp"

#include <caf/actor_cast.hpp>
#include <caf/actor_system.hpp>
#include <caf/io/middleman.hpp>
#include <caf/io/middleman_actor.hpp>
#include <caf/sec.hpp>
#include <caf/send.hpp>

#include <fmt/format.h>

#include <set>
#include <utility>

namespace perigee {

remote_policy_state::remote_policy_state(remote_policy_actor::pointer self, remote_policy_options options)
  : self_(self), options_(std::move(options)) {}

remote_policy_actor::behavior_type remote_policy_state::make_behavior() {
  self_->set_down_handler([this](const caf::down_msg& news) { on_down(news.source); });
  options_.report(fmt::format("the policy is at {}; least-seconds decides until it is there", place()));
  connect();
  return {
    [this](const instance_loads& loads) {
      for (const auto& load : loads.items)
        loads_[{load.who.kind, load.who.index}] = load;
      if (policy_)
        self_->send(policy_, loads);
    },
    [this](const peer_down& news) {
      auto known = loads_.find({news.who.kind, news.who.index});
      if (known != loads_.end() && known->second.who == news.who)
        loads_.erase(known);
      if (policy_)
        self_->send(policy_, news);
    },
    [this](const route_query& query) -> caf::result<route_decision> {
      if (!policy_)
        return caf::make_error(caf::sec::request_receiver_down, "no policy at " + place());
      return self_->delegate(policy_, query);
    },
    [this](const node_hello& hello) { on_hello(hello); },
    [this](atom::tick) {
      waiting_ = false;
      connect();
    },
  };
}

void remote_policy_state::connect() {
  auto broker = self_->system().middleman().actor_handle();
  self_->request(broker, caf::infinite, caf::connect_atom_v, options_.host, options_.port)
    .then(
      [this](const caf::node_id&, const caf::strong_actor_ptr& remote, const std::set<std::string>&) {
        if (!remote)
          return connect_later();
        host_ = caf::actor_cast<caf::actor>(remote);
        self_->monitor(host_);
        auto hello = node_hello{};
        hello.version = wire_version;
        hello.cluster = options_.cluster;
        hello.name = "Conductor";
        hello.node = caf::actor_cast<caf::actor>(self_);
        hello.answer_wanted = true;
        caf::anon_send(host_, std::move(hello));
      },
      [this](const caf::error&) { connect_later(); });
}

void remote_policy_state::connect_later() {
  if (std::exchange(waiting_, true))
    return;
  self_->delayed_send(self_, options_.reconnect, atom::tick_v);
}

void remote_policy_state::on_hello(const node_hello& hello) {
  if (!host_ || hello.node != host_)
    return;
  // Once refused it is not asked again until it went away: it would be the same.
  if (hello.version != wire_version)
    return options_.report(fmt::format("the policy at {} is refused: it speaks wire version {}, this node {}", place(),
                                       hello.version, wire_version));
  if (hello.actors.empty())
    return options_.report(fmt::format("the process at {} offers no policy", place()));
  policy_ = caf::actor_cast<policy_actor>(hello.actors.front().handle);
  self_->monitor(policy_);
  auto known = instance_loads{};
  for (const auto& [who, load] : loads_)
    known.items.push_back(load);
  self_->send(policy_, std::move(known));
  options_.report(fmt::format("policy {} at {} decides from now on", hello.name, place()));
}

void remote_policy_state::on_down(const caf::actor_addr& gone) {
  if ((host_ && host_.address() == gone) || (policy_ && policy_.address() == gone)) {
    if (policy_)
      options_.report(fmt::format("the policy at {} is gone; least-seconds decides until it is back", place()));
    policy_ = nullptr;
    host_ = nullptr;
    connect_later();
  }
}

std::string remote_policy_state::place() const {
  return fmt::format("{}:{}", options_.host, options_.port);
}

} // namespace perigee
