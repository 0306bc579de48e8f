// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/marker.hpp"
#include "actors/sim/checkers.hpp"
#include "actors/sim/cluster.hpp"
#include "actors/sim/traffic.hpp"
#include "actors/sim/world.hpp"

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace perigee::sim {

/// One run of a whole cluster under traffic, from a seed.
struct scenario {
  world_options run;
  cluster_options nodes;
  traffic_options clients;
  /// Called when everything stands, before the first request: the place to schedule faults.
  std::function<void(cluster&, traffic&)> faults = {};
  std::string tolerated = {}; ///< deaths of actors that the scenario causes have this in their reason
  caf::timespan limit = std::chrono::minutes{10};
  /// How long after the last request everything must be quiet.
  caf::timespan quiet_after = std::chrono::seconds{30};
};

struct outcome {
  std::vector<std::string> problems;
  traffic::counters clients;
  links::counters control;
  sim_network::counters fabric;
  std::map<std::string, uint64_t> markers;
  uint64_t evicted = 0; ///< blocks, by shards that live at the end
  uint64_t lent = 0;    ///< the same
  uint64_t writes_seen = 0;
  uint64_t blocks_compared = 0;
  uint64_t steps = 0;
  uint64_t ns = 0;
  std::string digest;
};

outcome run(const scenario& what);

/// As `rough`, and two devices stop answering or say no.
scenario with_broken_devices(uint64_t seed);

/// Results of several runs: counts are summed, problems collected with their seeds.
struct summary {
  std::string problems;
  traffic::counters clients;
  std::map<std::string, uint64_t> markers;
  uint64_t evicted = 0;
  uint64_t lent = 0;

  void add(uint64_t seed, const outcome& result);
  /// All counts in lines, for a test's message.
  std::string text() const;
};

/// Small pools, slow and lossy networks, clients that leave: everything that 200 requests can meet while all nodes live.
scenario rough(uint64_t seed);

/// As `rough`, with more sequences than decode instances have room for once the Conductor expects short answers.
scenario crowded(uint64_t seed);

/// As `what`, and decode instances compute prompts of which most is cached.
scenario conditionally(scenario what);

/// As `what`, with more prefill instances, and idle ones share the layers of nearly every prompt.
scenario pipelined(scenario what);

/// As `what`, with instances that do both, and shards beside them.
scenario coupled(scenario what, coupling how);

/// As `what`, with shards beside prefill instances, which read their blocks in place.
scenario beside(scenario what);

/// As `what`, and prompts of several chunks are computed layer by layer, also by instances that read no blocks in place.
scenario by_layer(scenario what);

/// The same as `beside`, with decode instances there too.
scenario together(scenario what);

/// As `rough`, and while requests come those nodes are killed and started again, one after the other or several at once.
scenario with_deaths(uint64_t seed, std::vector<std::pair<role, uint32_t>> victims);

} // namespace perigee::sim
