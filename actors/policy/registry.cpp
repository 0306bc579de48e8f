// SPDX-License-Identifier: Apache-2.0
#include "actors/policy/registry.hpp"

#include "actors/policy/policy_shell.hpp"
#include "actors/policy/route_kvcache_centric.hpp"
#include "actors/policy/route_least_seconds.hpp"

#include <caf/actor_system.hpp>

#include <algorithm>

namespace perigee {

namespace {

template <routing_policy Policy>
policy_entry entry_of() {
  return {Policy::name, Policy::summary,
          [](caf::actor_system& system) { return system.spawn(policy_shell<Policy>, Policy{}); }};
}

} // namespace

const std::vector<policy_entry>& routing_policies() {
  static const auto all = std::vector{entry_of<route_kvcache_centric>(), entry_of<route_least_seconds>()};
  return all;
}

const policy_entry* find_routing_policy(std::string_view name) {
  const auto& all = routing_policies();
  auto at = std::find_if(all.begin(), all.end(), [&](const policy_entry& entry) { return entry.name == name; });
  return at == all.end() ? nullptr : &*at;
}

} // namespace perigee
