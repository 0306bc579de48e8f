// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/node/node_actors.hpp"
#include "actors/sim/link.hpp"
#include "actors/sim/quiet_checks.hpp"
#include "actors/sim/sim_network.hpp"
#include "actors/sim/sim_stream.hpp"

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace perigee::sim {

struct cluster_options {
  uint32_t gateways = 1;
  uint32_t prefills = 3;
  uint32_t decodes = 3;
  uint32_t shards = 3;
  bool shards_beside_prefills = false; ///< shard i on the node of prefill instance i; otherwise on nodes of their own
  bool decodes_beside_prefills = false; ///< the same of decode instance i
  toy_model model;
  device_costs costs;
  uint32_t prefill_slots = 128;
  uint32_t decode_slots = 128;
  uint32_t shard_slots = 256;
  uint32_t chunk_tokens = 16;
  bool by_layer = false; ///< prefill instances compute long prompts layer by layer
  uint32_t batch_max = 16;
  uint64_t slo_tbt_ns = 60'000; ///< promised between tokens: less than two steps now and then
  timing times;
  std::string policy = "kvcache-centric";
  /// Not `none`: there are no prefill instances, and the first shards stand beside decode instances.
  coupling coupled = coupling::none;
  std::optional<conditional> at_decode; ///< which prompts decode instances compute
  std::optional<pipelining> groups;     ///< which prompts several prefill instances compute together
  uint32_t requests_max = 4096; ///< per gateway
  link_options link;
  fabric_options fabric;
  uint64_t connect_ns_max = 20'000'000; ///< until nodes know each other after a start
  uint64_t detect_ns_min = 5'000'000;   ///< until a node knows that another is gone
  uint64_t detect_ns_max = 500'000'000;
  /// If set, each stream counts tags that are not in it. Must outlive the cluster.
  const known_content* known = nullptr;
};

/// A whole cluster in one world: production actors, assembled as production assembles them, over simulated streams, fabrics
/// and links. In the place of the node actor it tells the actors of each node who is there and who is gone, also of an
/// instance that ended by itself because its device broke. Must outlive every run of the world.
class cluster {
public:
  /// All nodes start now.
  cluster(world& home, cluster_options options);
  ~cluster();

  cluster(const cluster&) = delete;
  cluster& operator=(const cluster&) = delete;

  uint32_t nodes() const {
    return static_cast<uint32_t>(nodes_.size());
  }
  uint32_t node_of(role kind, uint32_t index) const;
  bool alive(uint32_t node) const {
    return nodes_.at(node).alive;
  }

  /// Ends a node at once. The others hear of it after the detection delay, each at its own time.
  void kill(uint32_t node);
  /// Ends one actor of a living node, whose others go on and keep its memory.
  void end(role kind, uint32_t index);
  /// Starts a dead node again, empty, with a higher incarnation.
  void start(uint32_t node);

  /// No control message and no byte passes between the two until `heal`; nobody is told.
  void cut(uint32_t a, uint32_t b);
  void heal(uint32_t a, uint32_t b);

  /// Of a gateway; null while its node is dead.
  caf::actor session_handle(uint32_t gateway) const;

  // What lies inside, for checkers; null while the node is dead.
  const conductor_core* conductor_state_of() const;
  const session_core* session_state_of(uint32_t gateway) const;
  const prefill_core* prefill_state_of(uint32_t index) const;
  const decode_core* decode_state_of(uint32_t index) const;
  const shard_core* shard_state_of(uint32_t index) const;
  cluster_cores cores() const;
  std::span<const std::byte> shard_memory(uint32_t index) const;
  sim_stream* prefill_stream(uint32_t index);
  sim_stream* decode_stream(uint32_t index);

  /// Called with (pool's role, index, slot) for each range of a pool that the fabric is about to write.
  using landing_hook = std::function<void(role kind, uint32_t index, uint32_t slot)>;
  void on_landing(landing_hook hook);

  const cluster_options& options() const {
    return options_;
  }
  std::string fingerprint() const;
  world& home() const {
    return home_;
  }
  sim_network& fabrics() {
    return *fabrics_;
  }
  links& control() {
    return links_;
  }

private:
  struct place {
    role kind = role::node;
    uint32_t index = 0;
  };

  struct node_state {
    std::vector<place> places;
    bool alive = false;
    uint64_t incarnation = 0;
    uint32_t lives = 0;
    node_actors actors;
    std::map<std::pair<role, uint32_t>, std::shared_ptr<device>> devices;
    std::map<uint32_t, std::vector<std::byte>> pools; ///< of shards
    std::map<uint32_t, uint64_t> knows;               ///< other nodes and their incarnations
  };

  void add_node(std::vector<place> places);
  node_spec spec_of(uint32_t number);
  std::shared_ptr<device> make_device(uint32_t slots);
  void name_actors(const node_state& node, uint32_t number);
  void ended(uint32_t number, uint64_t incarnation, const address& who);
  void meet_later(uint32_t listener, uint32_t other);
  void meet(uint32_t listener, uint32_t other);
  void forget(uint32_t listener, uint32_t other, uint64_t incarnation);
  void landing(uint32_t node, const std::byte* first, uint64_t bytes) const;
  const node_state* find_alive(role kind, uint32_t index) const;
  template <class Impl>
  const Impl* find_actor(role kind, uint32_t index) const;
  sim_stream* stream_of(role kind, uint32_t index);

  world& home_;
  const cluster_options options_;
  random_stream random_;
  links links_;
  std::shared_ptr<sim_network> fabrics_;
  std::vector<node_state> nodes_;
  std::map<std::pair<role, uint32_t>, uint32_t> node_of_;
  landing_hook landing_;
};

} // namespace perigee::sim
