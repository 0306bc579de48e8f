// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/node/cluster_config.hpp"
#include "actors/sim/replay/replay_cluster.hpp"

#include <string>
#include <vector>

namespace perigee::cli {

/// What a simulated cluster was, for the cluster file that describes it.
struct planned_cluster {
  sim::replay_cluster_options options; ///< instances, profile, policies, promises
  std::string admission;
  std::string model;              ///< directory
  std::vector<std::string> hosts; ///< of the nodes in order, used again from the first; at least one
};

/// One node for each instance, prefill first, each prefill node with a shard of its own; the first node is also gateway
/// and Conductor. Pools have the profile's sizes. Nodes of one host have different ports.
actors::cluster_config cluster_of(const planned_cluster& plan);

/// The cluster file of `config`: what differs from the defaults, and all nodes. `comment` is its head, without `#`.
std::string cluster_text(const actors::cluster_config& config, const std::string& comment);

} // namespace perigee::cli
