// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/replay/replay.hpp"

#include <algorithm>
#include <chrono>

namespace perigee::sim {

namespace {

constexpr uint64_t warm_up_ns = 1'000'000'000; // until everybody knows the Conductor
constexpr size_t problems_max = 5;
// At one prefill instance; of a longer queue some have no memory yet.
constexpr uint64_t prompt_blocks_max = uint64_t{1} << 18;
constexpr uint64_t progress_every = 4096; // instants
constexpr uint64_t accounts_every = 509;  // instants
constexpr auto quiet_after = std::chrono::seconds{10}; // after the last end; reports come every second

uint32_t replicas_of(const replay_cluster& cluster, uint64_t block) {
  return static_cast<uint32_t>(cluster.conductor_state().index().find(replay_clients::key_of(block)).size());
}

/// Hands over what was decided since the last call.
class decision_reader {
public:
  decision_reader(const replay_cluster& from, const replay_options& options, uint64_t start_ns)
    : from_(from), to_(options.on_decision), start_ns_(start_ns) {}

  void read() {
    if (!to_)
      return;
    const auto& conductor = from_.conductor_state();
    const auto& kept = conductor.decisions();
    auto made = conductor.decisions_made();
    for (auto i = kept.size() - std::min<uint64_t>(made - read_, kept.size()); i < kept.size(); ++i)
      to_(kept[i], start_ns_);
    read_ = made;
  }

private:
  const replay_cluster& from_;
  std::function<void(const decision_record&, uint64_t)> to_;
  uint64_t start_ns_;
  uint64_t read_ = 0;
};

/// Averages, over the time of a run, how many caches hold a block that is cached at all.
class replica_mean {
public:
  replica_mean(const replay_cluster& from, uint64_t start_ns) : from_(from), next_ns_(start_ns) {}

  void sample(uint64_t now_ns) {
    if (now_ns < next_ns_)
      return;
    next_ns_ = now_ns + every_ns;
    const auto& index = from_.conductor_state().index();
    if (index.blocks() == 0)
      return;
    auto copies = uint64_t{0};
    for (uint32_t shard = 0; shard < from_.options().prefills; ++shard)
      copies += index.blocks_of(shard);
    sum_ += static_cast<double>(copies) / static_cast<double>(index.blocks());
    ++samples_;
  }
  double mean() const {
    return samples_ == 0 ? 0 : sum_ / static_cast<double>(samples_);
  }

private:
  static constexpr uint64_t every_ns = 10'000'000'000;

  const replay_cluster& from_;
  uint64_t next_ns_;
  double sum_ = 0;
  uint64_t samples_ = 0;
};

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
  options.cluster.blocks_max = static_cast<uint32_t>(std::min(blocks, prompt_blocks_max));
  options.cluster.recorder = options.clients.recorder = options.recorder;
  replay_result result;
  world home{{.seed = options.seed, .digest = options.digest, .digest_log = options.digest_log}};
  replay_cluster target{home, options.cluster, output_tokens};
  std::vector<caf::actor> sessions;
  for (uint32_t gateway = 0; gateway < options.cluster.gateways; ++gateway)
    sessions.push_back(target.session(gateway));
  replay_clients clients{home, std::move(sessions), trace, options.clients};
  clients.start(warm_up_ns);
  auto instants = uint64_t{0};
  auto start_ns = home.now() + warm_up_ns;
  if (options.recorder != nullptr)
    options.recorder->begin(start_ns, options.cluster.prefill_instances(), options.cluster.decode_instances(),
                            target.first_instance_node(), trace);
  auto decisions = decision_reader{target, options, start_ns};
  auto replicas = replica_mean{target, start_ns};
  auto problem = [&](std::string what) {
    if (result.problems.size() < problems_max)
      result.problems.push_back(std::move(what));
  };
  auto ended = [&] {
    ++instants;
    if (options.check && instants % accounts_every == 0)
      check_accounts(target.cores(), problem);
    decisions.read();
    replicas.sample(home.now());
    if (options.recorder != nullptr && options.recorder->sample_due(home.now()))
      options.recorder->sample(home.now(), [&](uint64_t block) { return replicas_of(target, block); });
    if (progress && instants % progress_every == 0)
      progress(clients.ended(), home.now() - std::min(home.now(), start_ns));
    return clients.done();
  };
  // Nothing that is served takes a year; what does is lost.
  if (!home.run_until(ended, std::chrono::hours{24 * 365}))
    problem("I3: " + std::to_string(trace.size() - clients.ended()) + " requests never ended");
  if (options.check) {
    home.run_for(quiet_after + std::chrono::nanoseconds{options.cluster.noise.report_age_ns + options.cluster.noise.report_skew_ns});
    auto cores = target.cores();
    check_accounts(cores, problem);
    check_books(cores, problem);
    if (options.cluster.noise.lost_events_ppm == 0)
      check_index(cores, problem);
  }
  for (const auto& death : home.deaths())
    problem(death);
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
  result.replicas = replicas.mean();
  if (options.digest)
    result.digest = home.digest_hex();
  result.wall_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  return result;
}

} // namespace perigee::sim
