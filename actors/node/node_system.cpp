// SPDX-License-Identifier: Apache-2.0
#include "actors/node/node_system.hpp"

#include "actors/core/message_types.hpp"

#include <caf/io/middleman.hpp>

#include <chrono>
#include <mutex>

namespace perigee {

void init_node_types() {
  static auto once = std::once_flag{};
  std::call_once(once, [] {
    init_message_types();
    caf::io::middleman::init_global_meta_objects();
  });
}

node_system_config::node_system_config(bool networked, caf::actor_profiler* watch) {
  // Work stealing's sleeping pollers cost milliseconds on few cores.
  set("caf.scheduler.policy", "sharing");
  if (networked) {
    load<caf::io::middleman>();
    // A silent peer is found by missing heartbeats only.
    set("caf.middleman.heartbeat-interval", caf::timespan{std::chrono::milliseconds{500}});
    set("caf.middleman.connection-timeout", caf::timespan{std::chrono::seconds{3}});
  }
  profiler = watch;
}

} // namespace perigee
