// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/cache/eviction.hpp"
#include "actors/conductor/conductor_core.hpp"
#include "actors/core/interfaces.hpp"
#include "actors/edge/stream_edge.hpp"
#include "actors/policy/coupling.hpp"
#include "actors/policy/local_order.hpp"
#include "actors/session/session_core.hpp"

#include <caf/actor_system.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace perigee {

/// What a node is made of: everything decided, nothing started. Indices count over the whole cluster.
struct node_spec {
  address self; ///< role::node; its incarnation is that of all its actors
  timing times;
  kernels::kv_layout layout;
  std::string fingerprint;

  struct instance {
    uint32_t index = 0;
    std::shared_ptr<device> work;
    uint32_t twin = 0;  ///< 1 + index of the instance of the other kind that shares the device; 0: none
    bool spare = false; ///< the device begins in the role of the twin
  };
  struct shard_pool {
    uint32_t index = 0;
    std::span<std::byte> memory; ///< outlives the node's actors
  };
  std::vector<instance> prefills;
  std::vector<instance> decodes;
  std::vector<shard_pool> shards;
  uint32_t chunk_tokens = 512;
  bool by_layer = false; ///< prefill instances compute long prompts layer by layer, where their streams can
  uint32_t batch_max = 256;
  local_order order = local_order::fifo; ///< of the jobs at one prefill instance
  eviction evicts = eviction::lru;       ///< of the shards
  uint32_t copies_cool = copies_cool_default;
  uint32_t prefill_queue_max = 1024; ///< jobs at one prefill instance
  coupling coupled = coupling::none;   ///< how decode instances compute prompts themselves
  uint32_t mixed_chunk_tokens = 1024;  ///< of such a prompt, between two steps
  bool keep_generated = true;        ///< decode offers full generated blocks to the shards
  uint64_t slo_tbt_ns = 0;           ///< promised time between tokens; 0: none is

  struct gateway {
    uint32_t index = 0;
    text_decoder_factory decoder;
    uint64_t seed = 0;
    uint32_t requests_max = 4096;
  };
  std::optional<gateway> session;

  /// `self` and `times` are filled in.
  std::optional<conductor_options> conductor;
  std::function<policy_actor(caf::actor_system&)> policy;

  std::function<std::unique_ptr<transport::fabric>(transport::fabric_events&)> make_fabric;
};

/// A running node.
struct node_actors {
  transport_actor transport;
  std::optional<session_actor> session;
  std::optional<conductor_actor> conductor;
  std::vector<prefill_actor> prefills;
  std::vector<decode_actor> decodes;
  std::vector<peer_up> addressed;  ///< every actor with an address
  std::vector<caf::actor> helpers; ///< streams and the policy: they have none
};

/// Registers the node's memory with its fabric, starts its actors and introduces them to each other. Throws `failure` where
/// the fabric cannot be had.
node_actors spawn_node(caf::actor_system& system, node_spec spec);

/// Ends all actors of a node.
void stop_node(const node_actors& node);

} // namespace perigee
