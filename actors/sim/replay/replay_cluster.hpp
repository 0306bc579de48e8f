// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/node/node_actors.hpp"
#include "actors/policy/policy_parameter.hpp"
#include "actors/sim/link.hpp"
#include "actors/sim/quiet_checks.hpp"
#include "actors/sim/replay/flow_network.hpp"
#include "actors/sim/replay/noise.hpp"
#include "actors/sim/replay/replay_stream.hpp"
#include "actors/sim/replay/run_recorder.hpp"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace perigee::sim {

/// The devices and networks of a replay: what `--profile` names.
struct replay_profile {
  std::string name = "a800x8-llama3-70b";
  cost_profile costs;
  /// Every chunk of a prompt pays the constant, and for all tokens before it, as the first does.
  bool chunks_alone = false;
  /// How many times longer a prefill instance and the decode instance of its number take while both compute, because
  /// they share a machine. 1: they have one each. Instances that change roles share a device and never both compute.
  double together_prefill = 1;
  double together_step = 1;
  double handover_layers = 80;          ///< one part in so many of a hand-over is left when the prefill ends
  double activation_bytes_token = 16'384; ///< between two layers: hidden size x 2
  uint64_t decode_tokens = 1'330'000;   ///< KV capacity of a decode instance
  uint64_t cache_tokens = 3'000'000;    ///< DRAM cache beside each prefill instance
};

struct replay_cluster_options {
  uint32_t gateways = 1;
  uint32_t prefills = 8;
  uint32_t decodes = 8;
  uint32_t block_tokens = 512;
  uint32_t chunk_tokens = 4096;
  uint64_t link_latency_ns = 50'000;
  replay_profile profile;
  std::string policy = "kvcache-centric";
  parameter_values route_params; ///< of that policy
  admission admit;
  /// Every device has an instance of either kind, and the policy says which is used; otherwise one has its role for good.
  bool changes_roles = false;
  local_order order = local_order::fifo;
  /// Not `none`: `prefills` + `decodes` instances do both, each with a shard beside it.
  coupling coupled = coupling::none;
  std::optional<conditional> at_decode; ///< which prompts decode instances compute
  std::optional<pipelining> groups;     ///< which prompts several prefill instances compute together
  uint32_t mixed_chunk_tokens = 1024;   ///< of a prompt that a decode instance computes, between two steps
  eviction evicts = eviction::lru;
  uint32_t copies_cool = copies_cool_default;
  bool reserve_max_tokens = false; ///< decode memory, for all that a request may generate
  uint64_t slo_ttft_ns = 30'000'000'000;
  uint64_t slo_tbt_ns = 100'000'000;
  uint32_t batch_max = 0;     ///< sequences in one decode step; 0: all
  uint32_t requests_max = 0;  ///< requests there can be at once: no queue is shorter
  uint32_t blocks_max = 0;    ///< blocks that all of them can need at once
  noise_options noise;
  bool serialize = false; ///< control messages go through the production `inspect`
  run_recorder* recorder = nullptr; ///< watches; may be null; sees no control messages where they are serialized

  /// Instances of each role.
  uint32_t prefill_instances() const noexcept {
    return coupled == coupling::none ? prefills : 0;
  }
  uint32_t decode_instances() const noexcept {
    return coupled == coupling::none ? decodes : prefills + decodes;
  }
};

/// Gateways, one Conductor, prefill instances with a shard beside each, decode instances, one a node (both kinds where
/// roles change): production actors, assembled by `spawn_node`, over simulated streams, flows and links. All know each
/// other from the start, and nobody fails. Must outlive every run of the world.
class replay_cluster {
public:
  /// `output_tokens` by request number; must outlive the cluster.
  replay_cluster(world& home, replay_cluster_options options, const std::vector<uint32_t>& output_tokens);

  replay_cluster(const replay_cluster&) = delete;
  replay_cluster& operator=(const replay_cluster&) = delete;

  /// Of a gateway.
  caf::actor session(uint32_t gateway) const;
  const conductor_core& conductor_state() const;
  /// What lies inside, for checks.
  cluster_cores cores() const;
  /// Of all instances, those of prefill first.
  std::vector<const replay_stream*> streams() const;
  const flow_network& network() const {
    return *network_;
  }
  /// Of instance 0; the nodes of the others follow, those of prefill first.
  uint32_t first_instance_node() const noexcept {
    return options_.gateways + 1;
  }
  const replay_cluster_options& options() const {
    return options_;
  }

private:
  static kernels::kv_layout layout_of(const replay_cluster_options& options);
  void add_gateway(uint32_t index);
  void add_conductor();
  void add_device(uint32_t number);
  void add_prefill(node_spec& spec, uint32_t index, const replay_stream_options& options);
  void add_decode(node_spec& spec, uint32_t index, const replay_stream_options& options);
  void add_shard(node_spec& spec, uint32_t index);
  node_spec begin_node();
  void finish_node(node_spec spec);
  std::shared_ptr<device> make_device(replay_stream_options options);
  std::shared_ptr<shared_machine<replay_stream>> machine_of(uint32_t instance);
  void introduce();
  uint64_t disturb(caf::message& what);
  template <class Impl>
  const Impl* find_actor(role kind, uint32_t index) const;

  world& home_;
  const replay_cluster_options options_;
  const std::vector<uint32_t>& output_tokens_;
  kernels::kv_layout layout_;
  random_stream random_;
  links links_;
  std::shared_ptr<flow_network> network_;
  std::vector<node_actors> nodes_;
  std::vector<std::shared_ptr<device>> devices_;
  std::vector<std::shared_ptr<shared_machine<replay_stream>>> machines_; ///< by instance, where they are shared
  std::vector<const replay_stream*> prefills_;
  std::vector<const replay_stream*> decodes_;
  std::vector<std::vector<std::byte>> shards_;
};

} // namespace perigee::sim
