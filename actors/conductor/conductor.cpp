// SPDX-License-Identifier: Apache-2.0
#include "actors/conductor/conductor.hpp"

#include "actors/core/actor_time.hpp"

namespace perigee {

conductor_state::conductor_state(conductor_actor::pointer self, conductor_options options, policy_actor policy)
  : self_(self), times_(options.times), policy_(std::move(policy)), core_(std::move(options), now_ns(*self)) {}

uint64_t conductor_state::now() const {
  return now_ns(*self_);
}

conductor_actor::behavior_type conductor_state::make_behavior() {
  self_->delayed_send(self_, times_.tick, atom::tick_v);
  return {
    // The most frequent first: they are tried in this order.
    [this](const report& message) { handle(message); },
    [this](submit& message) {
      core_.on(now(), std::move(message));
      flush();
    },
    [this](const placed_ack& message) { handle(message); },
    [this](const index_events& message) { handle(message); },
    [this](const withdraw& message) { handle(message); },
    [this](const peer_up& news) {
      if (peers_.up(news))
        handle(news);
    },
    [this](const peer_down& news) {
      if (!peers_.down(news))
        return;
      self_->send(policy_, news);
      handle(news);
    },
    [this](atom::tick) {
      core_.tick(now());
      flush();
      self_->delayed_send(self_, times_.tick, atom::tick_v);
    },
    [this](const redirect& message) { handle(message); },
    [this](const cancelled& message) { handle(message); },
    [this](atom::get_status) { return core_.status(now()); },
    [this](atom::get_decision, uint64_t session, uint64_t number) -> caf::result<decision_record> {
      if (auto found = core_.decision_of({session, number}))
        return *found;
      return caf::sec::no_such_key;
    },
  };
}

void conductor_state::flush() {
  core_.out.flush(peers_);
  ask_policy();
}

void conductor_state::ask_policy() {
  auto query = core_.next_query(now());
  core_.out.flush(peers_); // It may have placed or refused some by itself.
  if (!query)
    return;
  if (auto changed = core_.take_load_changes(); !changed.empty())
    self_->send(policy_, instance_loads{std::move(changed)});
  asked_ = query->placement;
  asked_ns_ = now();
  self_->request(policy_, caf::infinite, std::move(*query))
    .then(
      [this](route_decision& decision) {
        if (decision.placement == asked_)
          asked_ = 0;
        core_.on(now(), std::move(decision));
        flush();
      },
      [this](const caf::error&) { decide_without_policy(); });
  if (!watching_)
    watch_policy(times_.policy);
}

/// One timer at a time for however many questions: a policy that is silent must not stop the Conductor.
void conductor_state::watch_policy(caf::timespan wait) {
  watching_ = true;
  self_->run_delayed(wait, [this] {
    watching_ = false;
    if (asked_ == 0)
      return;
    auto late_ns = asked_ns_ + to_ns(times_.policy);
    if (now() < late_ns)
      return watch_policy(caf::timespan{late_ns - now()});
    decide_without_policy();
  });
}

void conductor_state::decide_without_policy() {
  asked_ = 0;
  core_.decide_without_policy(now());
  flush();
}

} // namespace perigee
