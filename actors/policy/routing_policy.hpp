// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/policy/load_view.hpp"
#include "actors/policy/policy_parameter.hpp"
#include "actors/policy/policy_random.hpp"

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

/// A policy as it starts; the parameters were checked.
template <routing_policy Policy>
Policy make_policy(uint64_t seed, const parameter_values& parameters) {
  auto policy = Policy{};
  set_parameters(policy, parameters);
  if constexpr (requires { policy.random; })
    policy.random = policy_random{seed};
  return policy;
}

} // namespace perigee
