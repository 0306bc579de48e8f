// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/interfaces.hpp"
#include "actors/policy/load_view.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <concepts>

namespace perigee {

/// A routing policy is a value with a name, one line for people, and one decision function. It may remember things between
/// calls, but sees only its arguments.
template <class T>
concept routing_policy = requires(T& policy, const route_query& query, const load_view& view) {
  { T::name } -> std::convertible_to<const char*>;
  { T::summary } -> std::convertible_to<const char*>;
  { policy.decide(query, view) } -> std::same_as<route_decision>;
};

template <routing_policy Policy>
struct policy_state {
  static inline constexpr const char* name = Policy::name;

  load_view view;
  Policy policy;
};

/// The one shell that turns any routing policy into an actor.
template <routing_policy Policy>
policy_actor::behavior_type policy_shell(policy_actor::stateful_pointer<policy_state<Policy>> self, Policy policy) {
  auto& state = self->state;
  state.policy = std::move(policy);
  return {
    [&state](const instance_load& load) { state.view.set(load); },
    [&state](const peer_down& news) { state.view.erase(news.who); },
    [&state](const route_query& query) {
      auto decision = state.policy.decide(query, state.view);
      decision.placement = query.placement;
      return decision;
    },
  };
}

} // namespace perigee
