// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/status_messages.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace perigee::cli {

/// What a gateway's edge last heard of the cluster. What did not answer is absent.
struct cluster_view {
  std::string model;              ///< as clients call it
  std::vector<std::string> nodes; ///< names, in the order of the cluster file
  std::optional<cluster_status> cluster;
  std::optional<session_status> session;
  std::map<uint32_t, transport_status> transports; ///< by node

  std::string node_name(uint32_t node) const {
    return node < nodes.size() ? nodes[node] : std::to_string(node);
  }

  /// Instances of one role that have reported to the Conductor.
  uint32_t alive(role kind) const {
    auto count = uint32_t{0};
    if (cluster)
      for (const auto& member : cluster->members)
        count += member.who.kind == kind && member.alive;
    return count;
  }

  /// Of all nodes that answered, together.
  transport_status transfers() const {
    auto sum = transport_status{};
    for (const auto& [node, one] : transports) {
      sum.provider_bytes += one.provider_bytes;
      sum.copied_bytes += one.copied_bytes;
      sum.failed_transfers += one.failed_transfers;
      sum.fences += one.fences;
      sum.in_flight += one.in_flight;
    }
    return sum;
  }
};

} // namespace perigee::cli
