// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/digests.hpp"

#include "actors/sim/replay/replay.hpp"
#include "tests/sim/replay/drawn_trace.hpp"
#include "tests/sim/scenario.hpp"

namespace perigee::sim {

namespace {

digest_scenario cluster_run(std::string name, std::function<scenario()> make) {
  return {std::move(name), [make] { return run(make()).digest; }};
}

replay_options small_replay(std::string policy, uint64_t seed) {
  replay_options options;
  options.cluster.policy = std::move(policy);
  options.cluster.prefills = 3;
  options.cluster.decodes = 2;
  options.cluster.profile.cache_tokens = 40'000; // Something has to be evicted.
  options.seed = seed;
  options.digest = true;
  return options;
}

digest_scenario replayed(std::string name, replay_options options) {
  return {std::move(name), [options] { return run_replay(drawn_trace(options.seed, 150), options).digest; }};
}

std::vector<digest_scenario> make_scenarios() {
  std::vector<digest_scenario> all;
  for (uint64_t seed : {1, 2, 3, 4})
    all.push_back(cluster_run("rough-" + std::to_string(seed), [seed] { return rough(seed); }));
  all.push_back(cluster_run("crowded", [] { return crowded(5); }));
  all.push_back(cluster_run("broken-devices", [] { return with_broken_devices(6); }));
  const std::pair<const char*, std::vector<std::pair<role, uint32_t>>> deaths[] = {
    {"prefills-die", {{role::prefill, 0}, {role::prefill, 1}}},
    {"decodes-die", {{role::decode, 0}, {role::decode, 1}}},
    {"shards-die", {{role::shard, 0}, {role::shard, 1}}},
    {"conductor-dies", {{role::conductor, 0}}},
    {"gateway-dies", {{role::session, 0}}},
    {"all-roles-die", {{role::prefill, 0}, {role::decode, 1}, {role::conductor, 0}, {role::shard, 2}}},
  };
  for (const auto& [name, victims] : deaths)
    all.push_back(cluster_run(name, [victims = victims] { return with_deaths(7, victims); }));
  for (const auto* policy : {"kvcache-centric", "perigee", "least-seconds", "random"})
    all.push_back(replayed(std::string{"replay-"} + policy, small_replay(policy, 8)));
  auto serialized = small_replay("kvcache-centric", 9);
  serialized.cluster.serialize = true;
  all.push_back(replayed("replay-serialized", serialized));
  auto noisy = small_replay("perigee", 10);
  noisy.cluster.noise = {.prefill_sigma = 0.3, .report_age_ns = 50'000'000, .lost_events_ppm = 50'000};
  all.push_back(replayed("replay-noise", noisy));
  auto unknown = small_replay("kvcache-centric", 11);
  unknown.clients.lengths_known = false;
  all.push_back(replayed("replay-unknown-lengths", unknown));
  auto refusing = small_replay("perigee", 12);
  refusing.clients.speed = 4;
  refusing.cluster.slo_ttft_ns = 2'000'000'000;
  all.push_back(replayed("replay-overload", refusing));
  return all;
}

} // namespace

const std::vector<digest_scenario>& digest_scenarios() {
  static const auto all = make_scenarios();
  return all;
}

std::string digest_lines() {
  std::string lines;
  for (const auto& one : digest_scenarios())
    lines += one.name + " " + one.digest() + "\n";
  return lines;
}

} // namespace perigee::sim
