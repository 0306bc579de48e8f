// SPDX-License-Identifier: Apache-2.0
#include "actors/node/node_actors.hpp"

#include "actors/cache/shard.hpp"
#include "actors/cache/store_client.hpp"
#include "actors/conductor/conductor.hpp"
#include "actors/decode/decode.hpp"
#include "actors/prefill/prefill.hpp"
#include "actors/session/session.hpp"
#include "actors/transfer/transport.hpp"

#include <caf/actor_cast.hpp>
#include <caf/exit_reason.hpp>
#include <caf/send.hpp>

namespace perigee {

namespace {

/// A pool as the node's own actors and as its peers address it.
struct registered {
  transport::region_id local = 0;
  transport::remote_region remote;
};

class builder {
public:
  builder(caf::actor_system& system, node_spec spec) : system_(system), spec_(std::move(spec)) {}

  node_actors build() {
    start_transport();
    for (const auto& shard : spec_.shards)
      start_shard(shard);
    for (const auto& instance : spec_.prefills)
      start_prefill(instance);
    for (const auto& instance : spec_.decodes)
      start_decode(instance);
    if (spec_.session)
      start_session();
    if (spec_.conductor)
      start_conductor();
    introduce();
    return std::move(node_);
  }

private:
  address named(role kind, uint32_t index) const {
    return {kind, index, spec_.self.node, spec_.self.incarnation};
  }

  template <class Handle>
  void add(const address& who, const Handle& handle) {
    node_.addressed.push_back({who, caf::actor_cast<caf::actor>(handle)});
  }

  void start_transport() {
    auto options = transport_options{};
    options.self_address = named(role::transport, spec_.self.node);
    options.times = spec_.times;
    // Pools are registered before the first actor that uses them starts.
    options.make_fabric = [this](transport::fabric_events& events) {
      auto fabric = spec_.make_fabric(events);
      auto add_pool = [&](std::span<std::byte> memory) {
        auto region = fabric->register_memory(memory);
        regions_.push_back({region, fabric->remote(region)});
      };
      for (const auto& shard : spec_.shards)
        add_pool(shard.memory);
      for (const auto* group : {&spec_.prefills, &spec_.decodes})
        for (const auto& instance : *group)
          add_pool(instance.work->stream->pool());
      return fabric;
    };
    for (const auto* group : {&spec_.prefills, &spec_.decodes})
      for (const auto& instance : *group)
        options.memory.push_back(instance.work);
    node_.transport = spawn_transport(system_, std::move(options));
    add(named(role::transport, spec_.self.node), node_.transport);
  }

  registered next_region() {
    return regions_.at(next_region_++);
  }

  void start_shard(const node_spec::shard_pool& shard) {
    auto options = shard_options{};
    options.self_address = named(role::shard, shard.index);
    options.times = spec_.times;
    auto region = next_region();
    shard_regions_.push_back(region.local);
    options.region = region.remote;
    options.slots = static_cast<uint32_t>(shard.memory.size() / spec_.layout.block_bytes());
    options.transport = node_.transport;
    options.limits.rule = spec_.evicts;
    options.limits.copies_cool = spec_.copies_cool;
    add(options.self_address, system_.spawn<shard_impl>(options));
  }

  /// The same rule as the Conductor's: the shard of the same number if it is here, else the first one here. Of prefill
  /// instances, and of decode instances in a cluster without them.
  std::optional<uint32_t> local_shard(uint32_t index) const {
    for (const auto& shard : spec_.shards)
      if (shard.index == index)
        return index;
    return spec_.shards.empty() ? std::nullopt : std::optional{spec_.shards.front().index};
  }

  /// Where the instance can read the blocks of its local shard in place, if it can.
  std::optional<lent_pool> lend(const node_spec::instance& instance) {
    auto shard = local_shard(instance.index);
    for (auto i = size_t{0}; i < spec_.shards.size(); ++i)
      if (shard == spec_.shards[i].index)
        if (auto first = instance.work->stream->lend(spec_.shards[i].memory))
          return lent_pool{*shard, *first, shard_regions_[i]};
    return std::nullopt;
  }

  store_client_actor start_store_client(uint32_t number, uint32_t index, transport::region_id pool,
                                        const std::optional<lent_pool>& lent) {
    auto options = store_client_options{};
    options.self_address = named(role::store_client, number);
    options.times = spec_.times;
    options.pool_region = pool;
    options.block_bytes = spec_.layout.block_bytes();
    options.local_shard = local_shard(index);
    options.transport = node_.transport;
    options.lent = lent;
    auto client = system_.spawn<store_client_impl>(options);
    add(options.self_address, client);
    return client;
  }

  stream_actor start_stream(const node_spec::instance& instance) {
    auto stream = system_.spawn<stream_edge>(instance.work);
    node_.helpers.push_back(caf::actor_cast<caf::actor>(stream));
    return stream;
  }

  void start_prefill(const node_spec::instance& instance) {
    auto region = next_region();
    auto options = prefill_options{};
    options.self = named(role::prefill, instance.index);
    options.times = spec_.times;
    options.layout = spec_.layout;
    options.slots = instance.work->stream->slots();
    options.region = region.local;
    options.remote = region.remote;
    options.activation_bytes_block = instance.work->stream->activation_bytes_block();
    options.local_shard = local_shard(instance.index);
    options.chunk_tokens = spec_.chunk_tokens;
    options.order = spec_.order;
    options.queue_max = spec_.prefill_queue_max;
    options.twin = instance.twin;
    options.spare = instance.spare;
    // Store clients of prefill instances have even numbers, those of decode instances odd ones.
    options.lent = lend(instance);
    options.by_layer = spec_.by_layer && instance.work->stream->by_layer(); // after it was lent all it will be
    auto beside = prefill_neighbours{start_store_client(instance.index * 2, instance.index, region.local, options.lent),
                                     node_.transport, start_stream(instance)};
    node_.prefills.push_back(system_.spawn<prefill>(options, beside));
    add(options.self, node_.prefills.back());
  }

  void start_decode(const node_spec::instance& instance) {
    auto region = next_region();
    auto options = decode_options{};
    options.self = named(role::decode, instance.index);
    options.times = spec_.times;
    options.layout = spec_.layout;
    options.slots = instance.work->stream->slots();
    options.region = region.remote;
    options.batch_max = spec_.batch_max;
    options.keep_generated = spec_.keep_generated;
    options.coupled = spec_.coupled;
    options.chunk_tokens = spec_.mixed_chunk_tokens;
    options.local_shard = local_shard(instance.index);
    options.order = spec_.order;
    options.prompts_max = spec_.prefill_queue_max;
    options.slo_tbt_ns = spec_.slo_tbt_ns;
    options.twin = instance.twin;
    options.spare = instance.spare;
    options.lent = lend(instance);
    auto beside =
      decode_neighbours{start_store_client(instance.index * 2 + 1, instance.index, region.local, options.lent),
                        node_.transport, start_stream(instance)};
    node_.decodes.push_back(system_.spawn<decode>(options, beside));
    add(options.self, node_.decodes.back());
  }

  void start_session() {
    auto options = session_options{};
    options.self = named(role::session, spec_.session->index);
    options.times = spec_.times;
    options.block_tokens = spec_.layout.block_tokens;
    options.fingerprint = spec_.fingerprint;
    options.decoder = spec_.session->decoder;
    options.seed = spec_.session->seed;
    options.requests_max = spec_.session->requests_max;
    node_.session = system_.spawn<session>(options);
    add(options.self, *node_.session);
  }

  void start_conductor() {
    auto options = *spec_.conductor;
    options.self = named(role::conductor, 0);
    options.times = spec_.times;
    options.block_tokens = spec_.layout.block_tokens;
    auto policy = spec_.policy(system_);
    node_.helpers.push_back(caf::actor_cast<caf::actor>(policy));
    node_.conductor = system_.spawn<conductor>(options, policy);
    add(options.self, *node_.conductor);
  }

  void introduce() {
    for (const auto& listener : node_.addressed)
      for (const auto& other : node_.addressed)
        if (listener.who != other.who)
          caf::anon_send(listener.handle, other);
  }

  caf::actor_system& system_;
  node_spec spec_;
  node_actors node_;
  std::vector<registered> regions_; // shards, prefills, decodes
  std::vector<transport::region_id> shard_regions_;
  size_t next_region_ = 0;
};

} // namespace

node_actors spawn_node(caf::actor_system& system, node_spec spec) {
  return builder{system, std::move(spec)}.build();
}

void stop_node(const node_actors& node) {
  for (const auto& item : node.addressed)
    caf::anon_send_exit(item.handle, caf::exit_reason::user_shutdown);
  for (const auto& helper : node.helpers)
    caf::anon_send_exit(helper, caf::exit_reason::user_shutdown);
}

} // namespace perigee
