// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/sim/replay/replay_clients.hpp"
#include "actors/sim/replay/replay_cluster.hpp"

#include <functional>
#include <span>
#include <string>
#include <vector>

namespace perigee::sim {

/// One run: one policy, one cluster, one seed.
struct replay_options {
  replay_cluster_options cluster; ///< what depends on the trace is filled in
  replay_clients_options clients;
  uint64_t seed = 1;
  bool digest = false;
  std::string digest_log = {};
  run_recorder* recorder = nullptr; ///< for reports; may be null; changes nothing
  /// Checks invariants I1, I5 and, where no index events are lost, I7: the accounts now and then, the rest when all is over.
  bool check = false;
  /// Told of each decision of the Conductor's policy, in their order; may be empty; changes nothing. The request's number
  /// is that of its place in the trace, from 1. The Conductor's clock showed `start_ns` at the trace's start.
  std::function<void(const decision_record&, uint64_t start_ns)> on_decision;
};

struct replay_result {
  std::vector<request_record> records; ///< by request
  uint64_t virtual_ns = 0;             ///< from the trace's start to the end of the last request
  double wall_s = 0;
  uint64_t messages = 0; ///< that actors took
  uint64_t timers = 0;   ///< and alarms and deliveries
  uint64_t decode_steps = 0;
  uint64_t decode_rows = 0;
  uint64_t prefills = 0;
  double prefill_s = 0; ///< devices worked on prefills, in all
  double moved_tokens = 0;      ///< prefix KV read from other nodes
  double handed_over_tokens = 0;
  double replicas = 0; ///< caches that hold a block, mean over the blocks that are cached anywhere and over time
  std::string digest; ///< empty if not asked for
  /// What must not happen: a request without an end, an actor that died.
  std::vector<std::string> problems;
};

/// Called now and then with the requests that have ended and the virtual time since the trace's start.
using replay_progress = std::function<void(size_t ended, uint64_t virtual_ns)>;

/// Replays a trace through a cluster of production actors in virtual time. The same arguments give the same result, but
/// for `wall_s`.
replay_result run_replay(std::span<const trace_request> trace, replay_options options, const replay_progress& progress = {});

} // namespace perigee::sim
