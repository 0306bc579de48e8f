// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/scenario.hpp"

#include <algorithm>
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
  for (const auto& list : {clients.problems(), watch.problems()})
    result.problems.insert(result.problems.end(), list.begin(), list.end());
  for (const auto& death : home.deaths())
    if (what.tolerated.empty() || death.find(what.tolerated) == std::string::npos)
      result.problems.push_back(death);
  result.clients = clients.totals();
  for (uint32_t shard = 0; shard < what.nodes.shards; ++shard)
    if (const auto* core = target.shard_state_of(shard)) {
      result.evicted += core->counters().evicted;
      result.lent += core->counters().lent_blocks;
    }
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
  nodes.prefill_slots = static_cast<uint32_t>(draw.between(44, 100));
  nodes.decode_slots = static_cast<uint32_t>(draw.between(44, 90));
  nodes.shard_slots = static_cast<uint32_t>(draw.between(20, 90));
  nodes.chunk_tokens = static_cast<uint32_t>(draw.between(3, 40));
  nodes.batch_max = static_cast<uint32_t>(draw.between(2, 16));
  nodes.costs.decode_base_ns = draw.between(26'000, 6'000'000);
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

scenario crowded(uint64_t seed) {
  auto what = rough(seed);
  auto& nodes = what.nodes;
  nodes.model.end_ppm = 150'000;
  nodes.model.block_tokens = 8;
  nodes.costs.decode_base_ns = 5'000'000;
  nodes.decode_slots = 20;
  nodes.prefill_slots = 60;
  nodes.times.report = std::chrono::milliseconds{50};
  auto& clients = what.clients;
  clients.requests = 400;
  clients.gap_ns_max = 15'000'000;
  clients.follow_ppm = 0;
  clients.prefix_tokens_max = 10;
  clients.suffix_tokens_max = 10;
  clients.max_tokens_max = 70;
  clients.ignore_end_ppm = 100'000;
  return what;
}

scenario conditionally(scenario what) {
  what.nodes.at_decode = conditional{40, 0.9};
  return what;
}

scenario pipelined(scenario what) {
  auto& nodes = what.nodes;
  nodes.prefills = 5;
  nodes.model.layers = 6; // Of which a stage has room for activations beside its own.
  nodes.groups = pipelining{8, 4, 2 * nodes.model.block_tokens};
  return what;
}

scenario coupled(scenario what, coupling how) {
  auto& nodes = what.nodes;
  nodes.coupled = how;
  nodes.prefills = 0;
  nodes.shards = nodes.decodes - 1; // One of them has none.
  return what;
}

scenario beside(scenario what) {
  what.nodes.shards_beside_prefills = true;
  return what;
}

scenario by_layer(scenario what) {
  what = beside(std::move(what));
  what.nodes.by_layer = true;
  what.nodes.model.layers = 6;
  what.nodes.chunk_tokens = std::min(what.nodes.chunk_tokens, 2 * what.nodes.model.block_tokens);
  return what;
}

scenario together(scenario what) {
  what = beside(std::move(what));
  what.nodes.decodes_beside_prefills = true;
  return what;
}

scenario with_deaths(uint64_t seed, std::vector<std::pair<role, uint32_t>> victims) {
  struct death {
    role kind;
    uint32_t index;
    uint64_t at;
    uint64_t back;
  };
  std::vector<death> deaths;
  random_stream draw{derived_seed(seed, "deaths")};
  uint64_t at = 0;
  uint64_t last = 0;
  for (int round = 0; round < 2; ++round)
    for (auto [kind, index] : victims) {
      at += draw.between(100'000'000, 900'000'000);
      deaths.push_back({kind, index, at, at + draw.between(20'000'000, 1'500'000'000)});
      last = std::max(last, deaths.back().back);
    }
  auto what = rough(seed);
  what.faults = [deaths, last](cluster& target, traffic& clients) {
    for (const auto& one : deaths) {
      auto node = target.node_of(one.kind, one.index);
      target.home().at(one.at, [&target, &clients, one, node] {
        if (!target.alive(node))
          return;
        if (one.kind == role::session)
          clients.gateway_dies(one.index);
        target.kill(node);
      });
      target.home().at(one.back, [&target, node] {
        if (!target.alive(node))
          target.start(node);
      });
    }
    // Ten times the longest protocol timeout.
    target.home().at(last + 20'000'000'000, [&clients] { clients.expect_success(); });
  };
  // Most requests come while nodes die, the others when that is over.
  what.clients.requests = 160;
  what.clients.gap_ns_max = 2 * last / 110;
  what.clients.late = 50;
  what.clients.late_ns = 25'000'000'000;
  return what;
}

scenario with_broken_devices(uint64_t seed) {
  auto what = rough(seed);
  what.tolerated = "does not answer";
  what.nodes.times.device = std::chrono::seconds{3};
  what.limit = std::chrono::minutes{20};
  what.faults = [seed](cluster& target, traffic&) {
    random_stream draw{derived_seed(seed, "devices")};
    target.home().at(draw.below(900'000'000), [&target] { target.prefill_stream(0)->hang(); });
    target.home().at(draw.below(900'000'000), [&target] { target.decode_stream(1)->hang(); });
    target.home().at(draw.below(900'000'000), [&target] { target.decode_stream(2)->fail(); });
  };
  return what;
}

void summary::add(uint64_t seed, const outcome& result) {
  if (!result.problems.empty())
    problems += "seed " + std::to_string(seed) + ":\n";
  for (const auto& problem : result.problems)
    problems += "  " + problem + "\n";
  for (const auto& [name, count] : result.markers)
    markers[name] += count;
  for (const auto& [code, count] : result.clients.errors)
    clients.errors[code] += count;
  clients.opened += result.clients.opened;
  clients.finished += result.clients.finished;
  clients.left += result.clients.left;
  clients.lost += result.clients.lost;
  clients.tokens += result.clients.tokens;
  clients.prompt_tokens += result.clients.prompt_tokens;
  clients.cached_tokens += result.clients.cached_tokens;
  evicted += result.evicted;
  lent += result.lent;
}

std::string summary::text() const {
  std::string result;
  auto line = [&result](const std::string& name, uint64_t count) {
    result += name + ": " + std::to_string(count) + "\n";
  };
  line("opened", clients.opened);
  line("finished", clients.finished);
  line("left", clients.left);
  line("lost with their gateway", clients.lost);
  line("prompt tokens", clients.prompt_tokens);
  line("cached tokens", clients.cached_tokens);
  line("evicted blocks", evicted);
  line("lent blocks", lent);
  for (const auto& [code, count] : clients.errors)
    line(std::string{"error "} + to_string(code), count);
  for (const auto& [name, count] : markers)
    line(name, count);
  return result;
}

} // namespace perigee::sim
