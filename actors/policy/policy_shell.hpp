// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/interfaces.hpp"
#include "actors/policy/routing_policy.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

namespace perigee {

/// A policy and its view of the instances.
template <routing_policy Policy>
struct policy_state {
  static inline constexpr const char* name = Policy::name;

  load_view view;
  Policy policy;

  route_decision decide(const route_query& query) {
    auto decision = policy.decide(query, view);
    decision.placement = query.placement;
    decision.view = view.version();
    return decision;
  }
};

/// The one shell that turns any routing policy into an actor.
template <routing_policy Policy>
policy_actor::behavior_type policy_shell(policy_actor::stateful_pointer<policy_state<Policy>> self, Policy policy) {
  auto& state = self->state;
  state.policy = std::move(policy);
  return {
    [&state](const route_query& query) { return state.decide(query); },
    [&state](const instance_loads& loads) {
      for (const auto& load : loads.items)
        state.view.set(load);
    },
    [&state](const peer_down& news) { state.view.erase(news.who); },
  };
}

} // namespace perigee
