// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/gateway/metrics.hpp"
#include "apps/perigee/cluster_view.hpp"

#include <vector>

namespace perigee::cli {

/// The cluster's part of /metrics: gauges and counters of every instance and shard as the Conductor knows them, of the
/// gateway's session, and of every node's transfers. What is not known has no samples.
std::vector<gateway::metric_family> cluster_families(const cluster_view& view);

} // namespace perigee::cli
