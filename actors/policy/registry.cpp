// SPDX-License-Identifier: Apache-2.0
#include "actors/policy/registry.hpp"

#include "actors/cache/eviction.hpp"
#include "actors/policy/admission.hpp"
#include "actors/policy/plugin.hpp"
#include "actors/policy/plugin_loader.hpp"
#include "actors/policy/policy_shell.hpp"
#include "actors/policy/reserved_names.hpp"
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

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <set>

namespace perigee {

namespace {

template <class Policy>
std::optional<pipelining> groups_of() {
  if constexpr (requires { Policy::groups; })
    return Policy::groups;
  else
    return std::nullopt;
}

template <routing_policy Policy>
policy_entry entry_of() {
  return {Policy::name, Policy::summary, describe_parameters<Policy>(),
          policy_maker{[](caf::actor_system& system, const policy_setup& setup) {
            return system.spawn(policy_shell<Policy>, make_policy<Policy>(setup.seed, setup.parameters));
          }},
          {},
          requires(Policy policy) { policy.roles; },
          groups_of<Policy>()};
}

/// What is wrong with a plugin that was built against something else.
std::optional<std::string> check_identity(const policy_plugin& found) {
  constexpr auto own = policy_plugin_identity();
  auto differs = [](const char* what, std::string_view theirs, std::string_view ours) {
    return fmt::format("it was built for {} {}, this perigee for {}; build it again with the headers and the compiler of "
                       "this perigee",
                       what, theirs, ours);
  };
  if (found.abi != own.abi)
    return differs("policy ABI", std::to_string(found.abi), std::to_string(own.abi));
  if (std::string_view{found.compiler} != own.compiler)
    return differs("compiler", found.compiler, own.compiler);
  if (std::string_view{found.library} != own.library)
    return differs("standard library", found.library, own.library);
  auto version = [](uint32_t number) { return fmt::format("{}.{}.{}", number / 10000, number / 100 % 100, number % 100); };
  if (found.caf != own.caf)
    return differs("CAF", version(found.caf), version(own.caf));
  if (found.layout != own.layout)
    return differs("message layout", fmt::format("{:x}", found.layout), fmt::format("{:x}", own.layout));
  return std::nullopt;
}

std::optional<std::string> check_entry(const plugin_entry& entry) {
  auto is_plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
  if (entry.name.empty() || !std::ranges::all_of(entry.name, is_plain) || entry.name == remote_policy_name)
    return fmt::format("it offers a policy called \"{}\"; allowed are lower-case letters, digits and '-', but not "
                       "\"{}\"",
                       entry.name, remote_policy_name);
  for (const auto& item : entry.parameters)
    if (!(item.min <= item.fallback && item.fallback <= item.max))
      return fmt::format("parameter {} of its policy \"{}\" is {} by default, allowed are {} to {}", item.name,
                         entry.name, item.fallback, item.min, item.max);
  return std::nullopt;
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

/// A policy of a plugin in the shell of this binary.
struct loaded_policy {
  static constexpr const char* name = "plugin-policy";
  static constexpr const char* summary = "a policy of a plugin";

  route_decision decide(const route_query& query, const load_view& view) {
    return policy->decide(query, view);
  }

  std::unique_ptr<plugin_policy> policy;
};

policy_entry entry_of(plugin_entry offered, const std::string& plugin) {
  auto make = offered.make;
  return {std::move(offered.name), std::move(offered.summary), std::move(offered.parameters),
          policy_maker{[make](caf::actor_system& system, const policy_setup& setup) {
            return system.spawn(policy_shell<loaded_policy>, loaded_policy{make(setup.seed, setup.parameters)});
          }},
          plugin};
}

std::deque<policy_entry>& all_policies() {
  static auto all = std::deque{
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

} // namespace

const std::deque<policy_entry>& routing_policies() {
  return all_policies();
}

std::optional<std::string> add_policy_plugin(const policy_plugin& offered, const std::string& plugin) {
  if (auto wrong = check_identity(offered))
    return wrong;
  auto entries = std::vector<plugin_entry>{};
  offered.list(entries);
  if (entries.empty())
    return "it offers no policy";
  auto names = std::set<std::string>{};
  for (const auto& entry : entries) {
    if (auto wrong = check_entry(entry))
      return wrong;
    if (!names.insert(entry.name).second)
      return fmt::format("it offers two policies called \"{}\"", entry.name);
    if (const auto* taken = find_routing_policy(entry.name); taken != nullptr && taken->plugin != plugin)
      return fmt::format("its policy \"{}\" has the name of {}; give it another one", entry.name,
                         taken->plugin.empty() ? "a policy that is built in" : "one of " + taken->plugin);
  }
  for (auto& entry : entries)
    if (find_routing_policy(entry.name) == nullptr)
      all_policies().push_back(entry_of(std::move(entry), plugin));
  return std::nullopt;
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
