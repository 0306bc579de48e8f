// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <caf/actor_system_config.hpp>

namespace perigee {

/// Makes all message types known to the process, before its first actor system. Any thread, any number of times.
void init_node_types();

/// How the actor system of a process is set up that runs in real time.
struct node_system_config : caf::actor_system_config {
  /// `networked` loads CAF's network. `watch` sees every message; may be null, and outlives the system.
  explicit node_system_config(bool networked, caf::actor_profiler* watch = nullptr);
};

} // namespace perigee
