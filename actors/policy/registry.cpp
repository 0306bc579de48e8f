// SPDX-License-Identifier: Apache-2.0
#include "actors/policy/registry.hpp"

#include "actors/cache/eviction.hpp"
#include "actors/policy/admission.hpp"
#include "actors/policy/policy_shell.hpp"
#include "actors/policy/route_balanced_prefix.hpp"
#include "actors/policy/route_central.hpp"
#include "actors/policy/route_exploit_explore.hpp"
#include "actors/policy/route_fair.hpp"
#include "actors/policy/route_kvcache_centric.hpp"
#include "actors/policy/route_least_requests.hpp"
#include "actors/policy/route_least_seconds.hpp"
#include "actors/policy/route_overlap_cost.hpp"
#include "actors/policy/route_perigee.hpp"
#include "actors/policy/route_power_of_two.hpp"
#include "actors/policy/route_prefix_capped.hpp"
#include "actors/policy/route_prefix_local.hpp"
#include "actors/policy/route_random.hpp"
#include "actors/policy/route_round_robin.hpp"
#include "actors/policy/route_sticky.hpp"
#include "actors/policy/route_uncached_times_load.hpp"
#include "actors/policy/route_weighted.hpp"

#include <caf/actor_system.hpp>

#include <algorithm>

namespace perigee {

namespace {

template <routing_policy Policy>
policy_entry entry_of() {
  return {Policy::name, Policy::summary, describe_parameters<Policy>(),
          policy_maker{[](caf::actor_system& system, const policy_setup& setup) {
            auto policy = Policy{};
            set_parameters(policy, setup.parameters);
            if constexpr (requires { policy.random; })
              policy.random = policy_random{setup.seed};
            return system.spawn(policy_shell<Policy>, std::move(policy));
          }}};
}

template <class... Policies>
std::vector<policy_line> lines_of() {
  return {policy_line{Policies::name, Policies::summary}...};
}

std::vector<policy_line> eviction_lines() {
  auto lines = std::vector<policy_line>{};
  for (auto rule : all_evictions)
    lines.push_back({to_string(rule), summary_of(rule)});
  return lines;
}

} // namespace

const std::vector<policy_entry>& routing_policies() {
  static const auto all = std::vector{
    entry_of<route_perigee>(),
    entry_of<route_kvcache_centric>(),
    entry_of<route_central>(),
    entry_of<route_prefix_local>(),
    entry_of<route_least_seconds>(),
    entry_of<route_least_requests>(),
    entry_of<route_round_robin>(),
    entry_of<route_random>(),
    entry_of<route_overlap_cost>(),
    entry_of<route_sticky>(),
    entry_of<route_uncached_times_load>(),
    entry_of<route_balanced_prefix>(),
    entry_of<route_power_of_two>(),
    entry_of<route_exploit_explore>(),
    entry_of<route_prefix_capped>(),
    entry_of<route_weighted>(),
    entry_of<route_fair>(),
  };
  return all;
}

const policy_entry* find_routing_policy(std::string_view name) {
  const auto& all = routing_policies();
  auto at = std::find_if(all.begin(), all.end(), [&](const policy_entry& entry) { return entry.name == name; });
  return at == all.end() ? nullptr : &*at;
}

const std::vector<policy_kind>& small_policies() {
  static const auto all = std::vector<policy_kind>{
    {"admission", "whether a request is accepted; asked when it arrives and when it is placed",
     lines_of<admit_none, admit_early, admit_predictive, admit_late, admit_slack>()},
    {"decode", "which decode instance continues a request", {{"least-tokens", "the fewest reserved KV tokens"}}},
    {"local order", "which job a prefill instance computes next", {{"fifo", "first come, first served"},
      {"shortest-first", "fewest tokens to compute, but whoever waited 10 s goes before"}}},
    {"eviction", "which block a cache shard gives up; never a leased one, nor one whose successor is there", eviction_lines()},
  };
  return all;
}

} // namespace perigee
