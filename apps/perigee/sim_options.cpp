// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/sim_options.hpp"

#include "actors/node/cluster_config.hpp"
#include "actors/policy/registry.hpp"
#include "actors/sim/replay/noise.hpp"
#include "apps/perigee/command.hpp"
#include "apps/perigee/sim_profile.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace perigee::cli {

namespace {

constexpr auto seeds_max = uint64_t{1000};

[[noreturn]] void refuse(const std::string& flag, const std::string& found, const std::string& allowed) {
  throw usage_error(fmt::format("{}: found \"{}\", allowed {}", flag, found, allowed));
}

/// The number at the start of `text`, and what follows it.
std::pair<double, std::string> number_and_rest(const std::string& text, const std::string& flag,
                                               const std::string& allowed) {
  auto value = 0.0;
  auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc{} || !std::isfinite(value) || value < 0)
    refuse(flag, text, allowed);
  return {value, {end, text.data() + text.size()}};
}

std::pair<std::string, std::string> split_pair(const std::string& text, char at, const std::string& flag,
                                               const std::string& allowed) {
  auto place = text.find(at);
  if (place == std::string::npos)
    refuse(flag, text, allowed);
  return {text.substr(0, place), text.substr(place + 1)};
}

std::vector<std::string> split(const std::string& text, char at) {
  auto parts = std::vector<std::string>{};
  for (size_t begin = 0; begin <= text.size();) {
    auto end = std::min(text.find(at, begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

void check_policies(const std::vector<std::string>& names) {
  for (const auto& name : names)
    if (find_routing_policy(name) == nullptr) {
      auto known = std::vector<std::string>{};
      for (const auto& entry : routing_policies())
        known.push_back(entry.name);
      refuse("--policy", name, fmt::format("{}", fmt::join(known, ", ")));
    }
}

admission admission_of(const std::string& name) {
  if (auto found = find_admission(name))
    return *found;
  auto known = std::vector<std::string>{};
  for (const auto& kind : small_policies())
    if (kind.kind == "admission")
      for (const auto& line : kind.choices)
        known.push_back(line.name);
  refuse("--admission", name, fmt::format("{}", fmt::join(known, ", ")));
}

parameter_values route_params_of(const sim_flags& flags) {
  auto values = parse_parameters(flags.route_params);
  if (!values)
    refuse("--route-params", flags.route_params, "NAME=NUMBER, separated by commas; such as threshold=3");
  for (const auto& name : flags.policies)
    for (const auto& [parameter, message] : check_parameters(find_routing_policy(name)->parameters, *values))
      throw usage_error(fmt::format("--route-params: {} of {}: {}", parameter, name, message));
  return *values;
}

constexpr auto disaggregated = "disaggregated";
constexpr auto conditionally = "conditional";

/// Names of the rows of `--coupled` and `--conditional`.
std::vector<std::string> modes_of(const sim_flags& flags) {
  auto modes = std::vector<std::string>{};
  for (const auto& name : flags.coupled) {
    auto how = find_coupling(name);
    if (!how)
      refuse("--coupled", name, fmt::format("{}", fmt::join(coupling_names, ", ")));
    if (*how == coupling::none)
      modes.push_back(flags.conditional ? conditionally : disaggregated);
    else
      modes.push_back(name);
  }
  if (flags.conditional && std::ranges::find(modes, conditionally) == modes.end())
    refuse("--conditional", fmt::format("--coupled {}", fmt::join(flags.coupled, ",")),
           "only where prefill is not coupled with decode: among --coupled none");
  return modes;
}

sim::noise_options parse_noise(const std::string& text) {
  constexpr auto allowed = "prefill=SIGMA, reports=AGE, events=SHARE, separated by commas; such as "
                           "prefill=0.2,reports=100ms,events=0.05";
  auto result = sim::noise_options{};
  if (text.empty())
    return result;
  for (const auto& part : split(text, ',')) {
    auto [name, value] = split_pair(part, '=', "--noise", allowed);
    if (name == "prefill") {
      auto [sigma, rest] = number_and_rest(value, "--noise", allowed);
      if (!rest.empty() || sigma > 1)
        refuse("--noise", part, "prefill=0 to prefill=1");
      result.prefill_sigma = sigma;
    } else if (name == "reports") {
      result.report_age_ns = parse_duration(value, "--noise");
    } else if (name == "events") {
      auto [share, rest] = number_and_rest(value, "--noise", allowed);
      if (!rest.empty() || share > 1)
        refuse("--noise", part, "events=0 to events=1");
      result.lost_events_ppm = static_cast<uint32_t>(share * 1e6 + 0.5);
    } else {
      refuse("--noise", part, allowed);
    }
  }
  return result;
}

} // namespace

eviction eviction_of(const std::string& name) {
  if (auto found = find_eviction(name))
    return *found;
  auto known = std::vector<std::string>{};
  for (auto rule : all_evictions)
    known.emplace_back(to_string(rule));
  refuse("--eviction", name, fmt::format("{}", fmt::join(known, ", ")));
}

uint64_t parse_duration(const std::string& text, const std::string& flag) {
  constexpr auto allowed = "a duration such as 30s, 100ms, 50us or 10min";
  auto [value, unit] = number_and_rest(text, flag, allowed);
  auto factor = unit == "ns"    ? 1.0
                : unit == "us"  ? 1e3
                : unit == "ms"  ? 1e6
                : unit == "s"   ? 1e9
                : unit == "min" ? 60e9
                                : 0.0;
  if (factor == 0 || value * factor > 1e18)
    refuse(flag, text, allowed);
  return static_cast<uint64_t>(value * factor + 0.5);
}

sim::service_level parse_slo(const std::string& text) {
  constexpr auto allowed = "ttft=DURATION and tbt=DURATION, separated by a comma; such as ttft=30s,tbt=100ms";
  auto result = sim::service_level{};
  for (const auto& part : split(text, ',')) {
    auto [name, value] = split_pair(part, '=', "--slo", allowed);
    if (name != "ttft" && name != "tbt")
      refuse("--slo", part, allowed);
    (name == "ttft" ? result.ttft_ns : result.tbt_ns) = parse_duration(value, "--slo");
  }
  return result;
}

std::pair<uint64_t, uint64_t> parse_seeds(const std::string& text) {
  constexpr auto allowed = "a number, or FIRST..LAST with at most 1000 seeds";
  auto parse = [&](const std::string& part) {
    auto value = uint64_t{0};
    auto [end, problem] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (problem != std::errc{} || end != part.data() + part.size())
      refuse("--seeds", text, allowed);
    return value;
  };
  auto dots = text.find("..");
  if (dots == std::string::npos)
    return {parse(text), parse(text)};
  auto first = parse(text.substr(0, dots));
  auto last = parse(text.substr(dots + 2));
  if (last < first || last - first >= seeds_max)
    refuse("--seeds", text, allowed);
  return {first, last};
}

sim_plan plan_sim(const sim_flags& flags) {
  auto plan = sim_plan{};
  const auto served = actors::policy_config{};
  const auto policies = flags.policies.empty() ? std::vector{served.route} : flags.policies;
  const auto admissions = !flags.admissions.empty()
                            ? flags.admissions
                            : std::vector<std::string>{flags.policies.empty() ? served.admission : admit_none::name};
  check_policies(policies);
  for (const auto& name : admissions)
    admission_of(name);
  if (flags.lengths != "oracle" && flags.lengths != "unknown")
    refuse("--lengths", flags.lengths, "oracle, unknown");
  auto [first, last] = parse_seeds(flags.seed);
  for (auto speed : flags.speeds)
    if (!(speed > 0) || speed > 1e6)
      refuse("--speed", fmt::format("{}", speed), "more than 0, at most 1000000");
  for (const auto& mode : modes_of(flags))
    for (const auto& policy : policies)
      for (const auto& admission : admissions)
        for (const auto& rule : flags.evictions)
          for (auto speed : flags.speeds)
            for (auto seed = first; seed <= last; ++seed)
              plan.runs.push_back({policy, admission, mode, eviction_of(rule), speed, seed});
  plan.promised = parse_slo(flags.slo);
  auto& cluster = plan.common.cluster;
  cluster.prefills = flags.prefill;
  cluster.decodes = flags.decode;
  cluster.block_tokens = flags.source.block_tokens;
  cluster.chunk_tokens = flags.chunk_tokens;
  if (cluster.chunk_tokens < cluster.block_tokens)
    refuse("--chunk-tokens", std::to_string(cluster.chunk_tokens),
           fmt::format("at least {}, one block", cluster.block_tokens));
  cluster.batch_max = flags.max_batch;
  cluster.mixed_chunk_tokens = flags.mixed_chunk;
  if (flags.conditional)
    cluster.at_decode = conditional{flags.conditional_tokens, flags.conditional_share};
  if (flags.cpp != "auto" && flags.cpp != "on" && flags.cpp != "off")
    refuse("--cpp", flags.cpp, "auto, on, off");
  if (flags.cpp != "on" && flags.cpp_limits != pipelining{})
    refuse("--cpp", flags.cpp, "on, where one of --cpp-uncached, --cpp-stages and --cpp-chunk is given");
  if (flags.cpp == "on") {
    if (std::ranges::all_of(flags.coupled, [](const auto& how) { return how != "none"; }))
      refuse("--cpp on", fmt::format("--coupled {}", fmt::join(flags.coupled, ",")),
             "only where there are prefill instances: among --coupled none");
    if (flags.cpp_limits.chunk_tokens % cluster.block_tokens != 0)
      refuse("--cpp-chunk", std::to_string(flags.cpp_limits.chunk_tokens),
             fmt::format("multiples of a block's {} tokens", cluster.block_tokens));
    cluster.groups = flags.cpp_limits;
  }
  plan.groups_as_policies_want = flags.cpp == "auto";
  cluster.slo_ttft_ns = plan.promised.ttft_ns;
  cluster.slo_tbt_ns = plan.promised.tbt_ns;
  if (auto order = find_local_order(flags.local_order))
    cluster.order = *order;
  else
    refuse("--local-order", flags.local_order, "fifo, shortest-first");
  if (flags.roles != "auto" && flags.roles != "fixed")
    refuse("--roles", flags.roles, "auto, fixed");
  cluster.changes_roles = flags.roles == "auto";
  cluster.route_params = route_params_of(flags);
  cluster.reserve_max_tokens = flags.lengths == "oracle";
  cluster.copies_cool = flags.copies_cool;
  cluster.serialize = flags.serialize;
  cluster.noise = parse_noise(flags.noise);
  cluster.profile = load_profile(flags.profile);
  if (flags.cache_tokens.size() > 1)
    refuse("--cache-tokens", std::to_string(flags.cache_tokens.size()) + " sizes", "one; a list goes with --analyze");
  if (!flags.cache_tokens.empty())
    cluster.profile.cache_tokens = flags.cache_tokens.front();
  if (cluster.profile.cache_tokens < cluster.block_tokens)
    refuse("--cache-tokens", std::to_string(cluster.profile.cache_tokens),
           fmt::format("at least {}, one block", cluster.block_tokens));
  plan.common.clients.lengths_known = flags.lengths == "oracle";
  if (!flags.deadline.empty())
    plan.common.clients.deadline_ns = parse_duration(flags.deadline, "--deadline");
  plan.common.digest = flags.digest || !flags.digest_log.empty();
  plan.common.digest_log = flags.digest_log;
  if (!flags.digest_log.empty() && plan.runs.size() > 1)
    refuse("--digest-log", flags.digest_log, "only with one policy, admission, speed and seed");
  return plan;
}

void check_trace(const sim_plan& plan, const std::vector<sim::trace_request>& trace) {
  auto longest = uint64_t{0};
  for (const auto& it : trace)
    longest = std::max(longest, uint64_t{it.input_tokens} + it.output_tokens);
  const auto& cluster = plan.common.cluster;
  if (longest + cluster.block_tokens > cluster.profile.decode_tokens)
    throw usage_error(fmt::format("--trace: its longest request has {} tokens, a decode instance of profile {} holds {}; "
                                  "take a profile with more decode memory",
                                  longest, cluster.profile.name, cluster.profile.decode_tokens));
}

sim::replay_options options_of(const sim_plan& plan, const sim_run& run) {
  auto options = plan.common;
  options.cluster.policy = run.policy;
  options.cluster.admit = admission_of(run.admission);
  options.cluster.coupled = find_coupling(run.mode).value_or(coupling::none);
  // Where a decode instance computes prompts itself, roles stay.
  options.cluster.changes_roles &= run.mode == disaggregated && find_routing_policy(run.policy)->changes_roles;
  if (options.cluster.coupled != coupling::none) {
    options.cluster.at_decode.reset();
    options.cluster.groups.reset();
  } else if (plan.groups_as_policies_want)
    options.cluster.groups = find_routing_policy(run.policy)->groups;
  options.cluster.evicts = run.evicts;
  options.clients.speed = run.speed;
  options.seed = run.seed;
  return options;
}

} // namespace perigee::cli
