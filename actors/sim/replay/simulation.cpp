// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/replay/simulation.hpp"

#include "actors/core/message_types.hpp"
#include "actors/policy/registry.hpp"
#include "actors/sim/replay/replay.hpp"
#include "transport/base/status.hpp"

#include <fmt/format.h>

namespace perigee::sim {

namespace {

[[noreturn]] void refuse(std::string_view option, std::string_view found, std::string_view allowed) {
  throw failure{errc::invalid_argument, fmt::format("simulation: {}: found {}, allowed {}", option, found, allowed)};
}

/// Decode memory holds the longest request; nothing else of a cluster can make a request impossible.
void check_trace(std::span<const trace_request> trace, uint64_t tokens_max) {
  if (trace.empty())
    refuse("trace", "no request", "at least one");
  for (const auto& it : trace)
    if (uint64_t{it.input_tokens} + it.output_tokens > tokens_max)
      refuse("trace", fmt::format("a request of {} tokens", uint64_t{it.input_tokens} + it.output_tokens),
             fmt::format("at most {}, what a decode instance holds", tokens_max));
}

void check(const simulation& wanted, uint32_t block_tokens) {
  const auto* entry = find_routing_policy(wanted.policy);
  if (entry == nullptr) {
    auto names = std::string{};
    for (const auto& known : routing_policies())
      names += (names.empty() ? "" : ", ") + known.name;
    refuse("policy", '"' + wanted.policy + '"', names);
  }
  for (const auto& [name, message] : check_parameters(entry->parameters, wanted.route_params))
    throw failure{errc::invalid_argument, fmt::format("simulation: {} of {}: {}", name, wanted.policy, message)};
  if (!find_admission(wanted.admission))
    refuse("admission", '"' + wanted.admission + '"', "none, early, predictive, late, slack");
  if (wanted.prefills == 0 || wanted.decodes == 0 || wanted.prefills > 1024 || wanted.decodes > 1024)
    refuse("instances", fmt::format("{} prefill, {} decode", wanted.prefills, wanted.decodes), "1 to 1024 of each");
  if (!(wanted.speed > 0 && wanted.speed <= 1e6))
    refuse("speed", fmt::format("{}", wanted.speed), "more than 0, at most 1000000");
  if (wanted.cache_tokens < block_tokens)
    refuse("cache_tokens", std::to_string(wanted.cache_tokens), fmt::format("at least {}, one block", block_tokens));
}

} // namespace

simulation_result simulate(std::span<const trace_request> trace, const simulation& wanted) {
  auto options = replay_options{};
  check(wanted, options.cluster.block_tokens);
  check_trace(trace, options.cluster.profile.decode_tokens - options.cluster.block_tokens);
  options.cluster.policy = wanted.policy;
  options.cluster.route_params = wanted.route_params;
  options.cluster.admit = find_admission(wanted.admission).value();
  options.cluster.prefills = wanted.prefills;
  options.cluster.decodes = wanted.decodes;
  options.cluster.profile.cache_tokens = wanted.cache_tokens;
  options.cluster.reserve_max_tokens = wanted.lengths_known;
  options.cluster.slo_ttft_ns = wanted.promised.ttft_ns;
  options.cluster.slo_tbt_ns = wanted.promised.tbt_ns;
  options.clients.lengths_known = wanted.lengths_known;
  options.clients.speed = wanted.speed;
  options.seed = wanted.seed;
  options.digest = true;
  init_message_types();
  auto run = run_replay(trace, std::move(options));
  if (!run.problems.empty())
    throw failure{errc::corrupt, "simulation: " + run.problems.front()};
  auto result = simulation_result{};
  result.summary = summarize(run.records, wanted.promised);
  result.requests = std::move(run.records);
  result.moved_tokens = static_cast<uint64_t>(run.moved_tokens + 0.5);
  result.virtual_ns = run.virtual_ns;
  result.digest = std::move(run.digest);
  return result;
}

} // namespace perigee::sim
