// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/replay/replay.hpp"

#include <algorithm>
#include <chrono>

namespace perigee::sim {

namespace {

constexpr uint64_t warm_up_ns = 1'000'000'000; // until everybody knows the Conductor
constexpr size_t problems_max = 5;
constexpr uint64_t progress_every = 4096; // instants

uint32_t replicas_of(const replay_cluster& cluster, uint64_t block) {
  return static_cast<uint32_t>(cluster.conductor_state().index().find(replay_clients::key_of(block)).size());
}

} // namespace

replay_result run_replay(std::span<const trace_request> trace, replay_options options, const replay_progress& progress) {
  auto began = std::chrono::steady_clock::now();
  std::vector<uint32_t> output_tokens;
  uint64_t blocks = 0;
  for (const auto& it : trace) {
    output_tokens.push_back(it.output_tokens);
    blocks += it.blocks.size();
    options.clients.context_tokens = std::max<uint64_t>(options.clients.context_tokens, it.input_tokens + it.output_tokens);
  }
  options.cluster.requests_max = static_cast<uint32_t>(trace.size()) + 1;
  options.cluster.blocks_max = static_cast<uint32_t>(std::min<uint64_t>(blocks, UINT32_MAX));
  options.cluster.recorder = options.clients.recorder = options.recorder;
  replay_result result;
  world home{{.seed = options.seed, .digest = options.digest, .digest_log = options.digest_log}};
  replay_cluster target{home, options.cluster, output_tokens};
  replay_clients clients{home, target.session(), trace, options.clients};
  clients.start(warm_up_ns);
  auto instants = uint64_t{0};
  auto start_ns = home.now() + warm_up_ns;
  if (options.recorder != nullptr)
    options.recorder->begin(start_ns, options.cluster.prefill_instances(), options.cluster.decode_instances(),
                            replay_cluster::first_instance_node, trace);
  auto ended = [&] {
    if (options.recorder != nullptr && options.recorder->sample_due(home.now()))
      options.recorder->sample(home.now(), [&](uint64_t block) { return replicas_of(target, block); });
    if (progress && ++instants % progress_every == 0)
      progress(clients.ended(), home.now() - std::min(home.now(), start_ns));
    return clients.done();
  };
  // Nothing that is served takes a year; what does is lost.
  if (!home.run_until(ended, std::chrono::hours{24 * 365}))
    result.problems.push_back(std::to_string(trace.size() - clients.ended()) + " requests never ended");
  for (const auto& death : home.deaths())
    if (result.problems.size() < problems_max)
      result.problems.push_back(death);
  result.records = clients.records();
  result.virtual_ns = clients.last_end_ns();
  result.messages = home.steps();
  result.timers = home.timers();
  for (const auto* stream : target.streams()) {
    const auto& totals = stream->totals();
    result.prefills += totals.prefills;
    result.prefill_s += static_cast<double>(totals.prefill_ns) / 1e9;
    result.decode_steps += totals.steps;
    result.decode_rows += totals.rows;
  }
  auto kv_bytes = options.cluster.profile.costs.kv_bytes_token;
  result.moved_tokens = target.network().totals().read_bytes / kv_bytes;
  result.handed_over_tokens = target.network().totals().written_bytes / kv_bytes;
  if (options.digest)
    result.digest = home.digest_hex();
  result.wall_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  return result;
}

} // namespace perigee::sim
