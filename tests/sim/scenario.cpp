// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/scenario.hpp"

#include <memory>

namespace perigee::sim {

outcome run(const scenario& what) {
  outcome result;
  marker_counts markers;
  world home{what.run};
  // The traffic knows what content there can be, and is made after the cluster that it uses.
  auto options = what.nodes;
  known_content known;
  options.known = &known;
  cluster target{home, options};
  traffic clients{target, what.clients, known};
  checkers watch{target, clients};
  clients.start();
  if (what.faults)
    what.faults(target, clients);
  auto ended = home.run_until([&] { return clients.done(); }, what.limit);
  if (!ended)
    result.problems.push_back("I3: not every request ended within the limit of the scenario");
  home.run_for(what.quiet_after);
  watch.quiet();
  for (const auto& list : {clients.problems(), watch.problems(), home.deaths()})
    result.problems.insert(result.problems.end(), list.begin(), list.end());
  result.clients = clients.totals();
  result.control = target.control().totals();
  result.fabric = target.fabrics().totals();
  result.markers = markers.all();
  result.writes_seen = watch.writes_seen();
  result.blocks_compared = watch.blocks_compared();
  result.steps = home.steps();
  result.ns = home.now();
  result.digest = home.digest_hex();
  return result;
}

scenario rough(uint64_t seed) {
  scenario what;
  what.run.seed = seed;
  random_stream draw{derived_seed(seed, "scenario")};
  auto& nodes = what.nodes;
  nodes.shards_beside_prefills = seed % 4 == 0;
  nodes.prefill_slots = static_cast<uint32_t>(draw.between(56, 120));
  nodes.decode_slots = static_cast<uint32_t>(draw.between(60, 120));
  nodes.shard_slots = static_cast<uint32_t>(draw.between(20, 90));
  nodes.chunk_tokens = static_cast<uint32_t>(draw.between(3, 40));
  nodes.batch_max = static_cast<uint32_t>(draw.between(2, 16));
  nodes.link.latency_ns_max = draw.between(50'000, 3'000'000);
  nodes.link.loss_ppm = static_cast<uint32_t>(draw.below(50'000));
  nodes.link.duplicate_ppm = static_cast<uint32_t>(draw.below(50'000));
  nodes.link.slow_ppm = static_cast<uint32_t>(draw.below(30'000));
  nodes.link.slow_ns_max = draw.between(1'000'000, 400'000'000);
  nodes.fabric.bytes_per_second = draw.between(1'000'000, 50'000'000);
  nodes.fabric.chunk_bytes_max = draw.between(20, 400);
  nodes.fabric.arrival_jitter_ns_max = draw.below(2'000'000);
  nodes.fabric.break_ppm = static_cast<uint32_t>(draw.below(3'000));
  nodes.fabric.wedge_ppm = static_cast<uint32_t>(draw.below(1'000));
  nodes.times.transfer = std::chrono::milliseconds{1500};
  auto& clients = what.clients;
  clients.gap_ns_max = draw.between(2'000'000, 40'000'000);
  clients.leave_ppm = 150'000;
  clients.leave_ns_max = draw.between(5'000'000, 400'000'000);
  return what;
}

std::string complaint(uint64_t seed, const outcome& result) {
  std::string text;
  for (const auto& problem : result.problems)
    text += "\n  " + problem;
  return text.empty() ? text : "seed " + std::to_string(seed) + ":" + text;
}

} // namespace perigee::sim
