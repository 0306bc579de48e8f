// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/cache/store_core.hpp"
#include "actors/core/directory.hpp"
#include "actors/core/interfaces.hpp"
#include "actors/core/timing.hpp"

#include <caf/typed_event_based_actor.hpp>

#include <map>

namespace perigee {

struct store_client_options {
  address self_address; ///< role::store_client
  timing times;
  uint32_t pool_region = 0;            ///< the instance's pool, as registered with this node's fabric
  uint64_t block_bytes = 0;            ///< the same at every shard
  std::optional<uint32_t> local_shard; ///< index of the shard to publish to while it lives
  transport_actor transport;           ///< of this node
  std::optional<lent_pool> lent = {};  ///< the local shard's, if the instance can read there
};

struct store_client_state {
  static inline const char* name = "store-client";

  store_client_state(store_client_actor::pointer self, store_client_options options);

  store_client_actor::behavior_type make_behavior();

  /// Runs `change(now)` on the core and sends what follows from it.
  template <class Change>
  void apply(Change change);

  /// Who sent the present message; numbers are given in the order of first messages.
  store_owner owner();
  void owner_down(const caf::down_msg& news);

  void deliver(store_output::to_shard& what);
  void deliver(store_output::to_owner& what);
  void deliver(move_blocks& what);
  void deliver(cancel_move& what);

  store_client_actor::pointer self;
  store_client_options options;
  directory peers;
  std::map<caf::actor_addr, store_owner> numbers; // looked up only
  std::map<store_owner, caf::actor> owners;
  store_owner owners_made = 0;
  store_core core;
};

/// The store client beside one instance as an actor: `system.spawn<store_client_impl>(options)`. The sender of a
/// `fetch` or `publish` gets its answer.
using store_client_impl = store_client_actor::stateful_impl<store_client_state>;

} // namespace perigee
