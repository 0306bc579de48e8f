// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/replay/replay_cluster.hpp"

#include "actors/cache/shard.hpp"
#include "actors/conductor/conductor.hpp"
#include "actors/core/interfaces.hpp"
#include "actors/decode/decode.hpp"
#include "actors/policy/registry.hpp"
#include "actors/prefill/prefill.hpp"
#include "actors/session/session.hpp"

#include <caf/send.hpp>

#include <cassert>

namespace perigee::sim {

namespace {


/// Nobody reads what a simulated device generates.
class no_text final : public text_decoder {
public:
  std::string push(token_id) override {
    return {};
  }
  std::string flush() override {
    return {};
  }
};

/// Nothing fails here, so nothing has to be noticed soon, and nothing that waits may time out.
timing patient() {
  timing result;
  result.tick = std::chrono::seconds{1};
  result.report = std::chrono::seconds{1};
  result.transfer = std::chrono::hours{24 * 365};
  result.device = std::chrono::hours{24 * 365};
  result.request = std::chrono::hours{24 * 365};
  return result;
}

} // namespace

replay_cluster::replay_cluster(world& home, replay_cluster_options options, const std::vector<uint32_t>& output_tokens)
  : home_(home), options_(std::move(options)), output_tokens_(output_tokens), layout_(layout_of(options_)),
    random_(home.random("replay")),
    links_(home, {.latency_ns_min = options_.link_latency_ns, .latency_ns_max = options_.link_latency_ns,
                  .serialize = options_.serialize}) {
  flow_options wires;
  wires.bytes_per_second = options_.profile.costs.network_bytes_second;
  wires.block_bytes = layout_.block_bytes();
  wires.bytes_scale = options_.profile.costs.kv_bytes_token * options_.block_tokens / static_cast<double>(layout_.block_bytes());
  wires.handover_layers = options_.profile.handover_layers;
  wires.recorder = options_.recorder;
  wires.bytes_token = options_.profile.costs.kv_bytes_token;
  network_ = flow_network::make(home_, wires);
  auto disturbs = options_.noise.report_age_ns > 0 || options_.noise.report_skew_ns > 0
                  || options_.noise.lost_events_ppm > 0;
  if (disturbs || options_.recorder != nullptr)
    links_.on_pass([this, disturbs](caf::message& what) {
      if (options_.recorder != nullptr)
        options_.recorder->passed(what, home_.now());
      return disturbs ? disturb(what) : 0;
    });
  for (uint32_t i = 0; i < options_.gateways; ++i)
    add_gateway(i);
  add_conductor();
  for (uint32_t i = 0; i < options_.prefill_instances() + options_.decode_instances(); ++i)
    add_device(i);
  introduce();
}

/// One byte stands for a block; where groups share the layers of a prompt, for each of its layers.
kernels::kv_layout replay_cluster::layout_of(const replay_cluster_options& options) {
  auto layers = options.groups ? static_cast<uint32_t>(options.profile.handover_layers) : 1;
  return {layers, options.block_tokens, 1};
}

node_spec replay_cluster::begin_node() {
  auto number = static_cast<uint32_t>(nodes_.size());
  node_spec spec;
  spec.self = {role::node, number, number, random_.between(1, 1000)};
  spec.times = patient();
  spec.layout = layout_;
  spec.fingerprint = options_.profile.name;
  spec.chunk_tokens = options_.chunk_tokens;
  spec.order = options_.order;
  spec.coupled = options_.coupled;
  spec.mixed_chunk_tokens = options_.mixed_chunk_tokens;
  spec.evicts = options_.evicts;
  spec.copies_cool = options_.copies_cool;
  spec.slo_tbt_ns = options_.slo_tbt_ns;
  spec.batch_max = options_.batch_max > 0 ? options_.batch_max : options_.requests_max;
  spec.prefill_queue_max = options_.requests_max;
  spec.keep_generated = false; // A public trace has no keys for what was generated.
  spec.make_fabric = [this, number](transport::fabric_events& events) { return network_->make_fabric(number, events); };
  return spec;
}

void replay_cluster::finish_node(node_spec spec) {
  auto number = spec.self.node;
  nodes_.push_back(spawn_node(home_.system(), std::move(spec)));
  for (const auto& item : nodes_.back().addressed)
    home_.name(item.handle, name_of(item.who));
  for (size_t i = 0; i < nodes_.back().helpers.size(); ++i)
    home_.name(nodes_.back().helpers[i], "helper-" + std::to_string(number) + "." + std::to_string(i));
}

void replay_cluster::add_gateway(uint32_t index) {
  auto spec = begin_node();
  auto decoder = [](std::span<const token_id>) { return std::make_unique<no_text>(); };
  spec.session = node_spec::gateway{index, decoder, random_.next(), options_.requests_max};
  finish_node(std::move(spec));
}

void replay_cluster::add_conductor() {
  auto spec = begin_node();
  conductor_options conductor;
  conductor.profile = options_.profile.costs;
  conductor.policy = options_.policy;
  conductor.admit = options_.admit;
  conductor.reserve_max_tokens = options_.reserve_max_tokens;
  conductor.slo_ttft_ns = options_.slo_ttft_ns;
  conductor.slo_tbt_ns = options_.slo_tbt_ns;
  conductor.coupled = options_.coupled;
  conductor.at_decode = options_.at_decode;
  conductor.groups = options_.groups;
  conductor.mixed_chunk_tokens = options_.mixed_chunk_tokens;
  conductor.changes_roles = options_.changes_roles;
  auto instances = options_.prefills + options_.decodes;
  auto shards = options_.coupled == coupling::none ? options_.prefills : options_.decode_instances();
  conductor.members_expected = options_.changes_roles ? 3 * instances : instances + shards;
  conductor.waiting_requests_max = options_.requests_max;
  conductor.waiting_tokens_max = UINT64_MAX / 2;
  spec.conductor = conductor;
  spec.policy = find_routing_policy(options_.policy)->spawn.with({home_.random("policy").next(), options_.route_params});
  finish_node(std::move(spec));
}

std::shared_ptr<device> replay_cluster::make_device(replay_stream_options options) {
  auto made = std::make_shared<device>();
  made->events = std::make_unique<stream_forwarder>();
  made->stream = std::make_unique<replay_stream>(home_, std::move(options), random_.next(), *made->events);
  devices_.push_back(made);
  return made;
}

std::shared_ptr<shared_machine<replay_stream>> replay_cluster::machine_of(uint32_t instance) {
  while (machines_.size() <= instance)
    machines_.push_back(std::make_shared<shared_machine<replay_stream>>());
  return machines_[instance];
}

/// Devices are numbered prefill first, by the roles in which they begin.
void replay_cluster::add_device(uint32_t number) {
  auto is_prefill = number < options_.prefill_instances();
  replay_stream_options options;
  options.costs = options_.profile.costs;
  options.chunks_alone = options_.profile.chunks_alone;
  options.layout = layout_;
  options.output_tokens = &output_tokens_;
  options.recorder = options_.recorder;
  options.instance = number;
  options.prefill_noise = log_normal_factors(options_.noise.prefill_sigma);
  if (options_.changes_roles)
    options.turn = std::make_shared<device_turn<replay_stream>>();
  else if (options_.profile.together_prefill > 1 || options_.profile.together_step > 1)
    options.machine = machine_of(is_prefill ? number : number - options_.prefill_instances());
  auto spec = begin_node();
  // Of either kind, those that begin as such are numbered first: a prefill instance has the number of its device.
  auto decode = is_prefill ? options_.decodes + number : number - options_.prefill_instances();
  if (is_prefill || options_.changes_roles)
    add_prefill(spec, number, options);
  if (!is_prefill || options_.changes_roles)
    add_decode(spec, decode, options);
  if (options_.changes_roles) {
    spec.prefills.front().twin = decode + 1;
    spec.decodes.front().twin = number + 1;
    (is_prefill ? spec.decodes : spec.prefills).front().spare = true;
  }
  finish_node(std::move(spec));
}

void replay_cluster::add_prefill(node_spec& spec, uint32_t index, const replay_stream_options& common) {
  auto options = common;
  options.slots = options_.blocks_max;
  options.together = options_.profile.together_prefill;
  const auto& profile = options_.profile;
  if (options_.groups)
    options.activation_bytes_block = static_cast<uint64_t>(
      profile.activation_bytes_token * profile.handover_layers / profile.costs.kv_bytes_token + 0.5);
  auto number = spec.self.node;
  spec.prefills.push_back({index, make_device(std::move(options))});
  add_shard(spec, index);
  auto* stream = static_cast<replay_stream*>(devices_.back()->stream.get());
  prefills_.push_back(stream);
  network_->on_source(number, [stream](const std::byte* place) {
    auto pool = stream->pool();
    return place >= pool.data() && place < pool.data() + pool.size() ? stream->ready_ns(place) : 0;
  });
}

void replay_cluster::add_decode(node_spec& spec, uint32_t index, const replay_stream_options& common) {
  auto options = common;
  options.slots = static_cast<uint32_t>(options_.profile.decode_tokens / options_.block_tokens);
  options.together = options_.profile.together_step;
  spec.decodes.push_back({index, make_device(std::move(options))});
  decodes_.push_back(static_cast<const replay_stream*>(devices_.back()->stream.get()));
  if (options_.coupled != coupling::none)
    add_shard(spec, index);
}

void replay_cluster::add_shard(node_spec& spec, uint32_t index) {
  auto blocks = options_.profile.cache_tokens / options_.block_tokens;
  spec.shards.push_back({index, shards_.emplace_back(blocks * layout_.block_bytes())});
}

std::vector<const replay_stream*> replay_cluster::streams() const {
  auto all = std::vector<const replay_stream*>(prefills_.begin(), prefills_.end());
  all.insert(all.end(), decodes_.begin(), decodes_.end());
  return all;
}

/// In the place of the node actors: everybody hears of everybody else.
void replay_cluster::introduce() {
  for (uint32_t here = 0; here < nodes_.size(); ++here)
    for (uint32_t there = 0; there < nodes_.size(); ++there) {
      if (here == there)
        continue;
      for (const auto& item : nodes_[there].addressed) {
        auto way = links_.make(here, there, item.handle, std::to_string(here) + ">" + name_of(item.who));
        for (const auto& local : nodes_[here].addressed)
          caf::anon_send(local.handle, peer_up{item.who, way});
      }
    }
}

/// What the Conductor does not get, or gets late.
uint64_t replay_cluster::disturb(caf::message& what) {
  if (what.match_elements<report>()) {
    const auto& noise = options_.noise;
    if (noise.report_skew_ns == 0)
      return noise.report_age_ns;
    auto number = what.get_as<report>(0).from.node - first_instance_node();
    return noise.report_age_ns + noise.report_skew_ns * number / (options_.prefills + options_.decodes);
  }
  if (what.match_elements<index_events>())
    for (auto& event : what.get_mutable_as<index_events>(0).events)
      if (random_.chance(options_.noise.lost_events_ppm))
        event = {{random_.next(), random_.next()}, false}; // Keeps its number, and says nothing.
  return 0;
}

caf::actor replay_cluster::session(uint32_t gateway) const {
  return caf::actor_cast<caf::actor>(*nodes_.at(gateway).session);
}

/// Reads an actor from outside: nothing runs meanwhile, as there is one thread. Null if there is none.
template <class Impl>
const Impl* replay_cluster::find_actor(role kind, uint32_t index) const {
  for (const auto& node : nodes_)
    for (const auto& item : node.addressed)
      if (item.who.kind == kind && item.who.index == index)
        return dynamic_cast<const Impl*>(caf::actor_cast<caf::abstract_actor*>(item.handle));
  return nullptr;
}

const conductor_core& replay_cluster::conductor_state() const {
  const auto* found = find_actor<conductor>(role::conductor, 0);
  assert(found != nullptr);
  return found->state.core();
}

cluster_cores replay_cluster::cores() const {
  cluster_cores all;
  all.conductor = &conductor_state();
  for (uint32_t i = 0; i < options_.gateways; ++i)
    all.sessions.push_back(&find_actor<::perigee::session>(role::session, i)->state.core());
  for (uint32_t i = 0; i < options_.prefills + options_.decodes; ++i) {
    if (const auto* found = find_actor<prefill>(role::prefill, i))
      all.prefills.push_back(&found->state.core());
    if (const auto* found = find_actor<decode>(role::decode, i))
      all.decodes.push_back(&found->state.core());
    if (const auto* found = find_actor<shard_impl>(role::shard, i))
      all.shards.push_back(&found->state.core);
  }
  return all;
}

} // namespace perigee::sim
