// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/interfaces.hpp"
#include "actors/policy/load_view.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <concepts>

namespace perigee {

/// A routing policy is a value with a name, one line for people, and one decision function. It may remember things between
/// calls, but sees only its arguments. It may have a `policy_random random`, which gets its seed before the first decision,
/// and `static constexpr std::array parameters` of `policy_parameter`.
template <class T>
concept routing_policy = requires(T& policy, const route_query& query, const load_view& view) {
  { T::name } -> std::convertible_to<const char*>;
  { T::summary } -> std::convertible_to<const char*>;
  { policy.decide(query, view) } -> std::same_as<route_decision>;
};

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
    [&state](const instance_load& load) { state.view.set(load); },
    [&state](const peer_down& news) { state.view.erase(news.who); },
    [&state](const route_query& query) { return state.decide(query); },
  };
}

} // namespace perigee
