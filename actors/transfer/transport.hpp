// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/interfaces.hpp"
#include "actors/core/timing.hpp"
#include "actors/transfer/transport_core.hpp"

#include <functional>
#include <memory>
#include <vector>

namespace caf {
class actor_system;
} // namespace caf

namespace perigee {

struct transport_options {
  address self_address; ///< role::transport
  timing times;
  transport_limits limits;
  /// Makes the node's fabric, which reports to the events given. Called once, before `spawn_transport` returns, in its
  /// thread: the place to register the node's pools. May throw `failure`.
  std::function<std::unique_ptr<transport::fabric>(transport::fabric_events&)> make_fabric;
  /// Owners of memory that is registered there: kept until the fabric is gone. Peers write to a pool whose instance has
  /// ended, until they hear of that.
  std::vector<std::shared_ptr<const void>> memory = {};
};

/// Starts the transport actor of a node. It owns the fabric; the fabric ends with it.
transport_actor spawn_transport(caf::actor_system& system, transport_options options);

} // namespace perigee
