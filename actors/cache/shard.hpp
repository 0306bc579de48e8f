// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/cache/shard_core.hpp"
#include "actors/core/directory.hpp"
#include "actors/core/interfaces.hpp"
#include "actors/core/timing.hpp"

#include <caf/typed_event_based_actor.hpp>

namespace perigee {

struct shard_options {
  address self_address; ///< role::shard
  timing times;
  transport::remote_region region; ///< what others must know to reach the pool
  uint32_t slots = 0;
  transport_actor transport; ///< of this node
  shard_limits limits;
};

struct shard_state {
  static inline const char* name = "cache-shard";

  shard_state(shard_actor::pointer self, shard_options options);

  shard_actor::behavior_type make_behavior();

  /// Runs `change` on the core and sends what follows from it.
  template <class Change>
  void apply(Change change);

  uint64_t now();
  void flush();

  shard_actor::pointer self;
  shard_options options;
  directory peers;
  shard_core core;
};

/// One cache shard as an actor: `system.spawn<shard_impl>(options)`.
using shard_impl = shard_actor::stateful_impl<shard_state>;

} // namespace perigee
