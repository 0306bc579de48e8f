// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/cluster.hpp"

#include "actors/cache/shard.hpp"
#include "actors/conductor/conductor.hpp"
#include "actors/decode/decode.hpp"
#include "actors/policy/registry.hpp"
#include "actors/prefill/prefill.hpp"
#include "actors/session/session.hpp"

#include <caf/send.hpp>

#include <algorithm>
#include <cassert>

namespace perigee::sim {

namespace {

constexpr double seconds(uint64_t ns) {
  return static_cast<double>(ns) / 1e9;
}

/// The Conductor's first idea of the devices is their true cost.
cost_profile profile_of(const cluster_options& options) {
  cost_profile result;
  result.prefill_constant = seconds(options.costs.prefill_base_ns);
  result.prefill_token = seconds(options.costs.prefill_token_ns);
  result.prefill_square = seconds(options.costs.prefill_square_ps) / 1000;
  result.prefill_reused = 0;
  result.step_constant = seconds(options.costs.decode_base_ns);
  result.step_row = seconds(options.costs.decode_row_ns);
  result.step_context_token = seconds(options.costs.decode_context_ps) / 1000;
  auto layout = options.model.layout();
  result.kv_bytes_token = static_cast<double>(layout.block_bytes()) / layout.block_tokens;
  result.network_bytes_second = static_cast<double>(options.fabric.bytes_per_second);
  return result;
}

/// "<17>": every token is visible in the text.
class plain_decoder final : public text_decoder {
public:
  std::string push(token_id token) override {
    return '<' + std::to_string(token) + '>';
  }
  std::string flush() override {
    return {};
  }
};

} // namespace

cluster::cluster(world& home, cluster_options options)
  : home_(home), options_(std::move(options)), random_(home.random("cluster")), links_(home, options_.link),
    fabrics_(sim_network::make(home, options_.fabric)) {
  fabrics_->on_landing([this](uint32_t node, const std::byte* first, uint64_t bytes) { landing(node, first, bytes); });
  for (uint32_t i = 0; i < options_.gateways; ++i)
    add_node({{role::session, i}});
  add_node({{role::conductor, 0}});
  for (uint32_t i = 0; i < options_.prefills; ++i) {
    std::vector<place> places{{role::prefill, i}};
    if (options_.decodes_beside_prefills && i < options_.decodes)
      places.push_back({role::decode, i});
    if (options_.shards_beside_prefills && i < options_.shards)
      places.push_back({role::shard, i});
    add_node(std::move(places));
  }
  auto coupled = options_.coupled != coupling::none;
  for (uint32_t i = options_.decodes_beside_prefills ? options_.prefills : 0; i < options_.decodes; ++i) {
    std::vector<place> places{{role::decode, i}};
    if (coupled && i < options_.shards)
      places.push_back({role::shard, i});
    add_node(std::move(places));
  }
  auto beside = coupled ? options_.decodes : options_.shards_beside_prefills ? options_.prefills : 0;
  for (uint32_t i = beside; i < options_.shards; ++i)
    add_node({{role::shard, i}});
  for (uint32_t number = 0; number < nodes(); ++number)
    start(number);
}

cluster::~cluster() = default;

void cluster::add_node(std::vector<place> places) {
  for (const auto& what : places)
    node_of_[{what.kind, what.index}] = nodes();
  nodes_.emplace_back().places = std::move(places);
}

uint32_t cluster::node_of(role kind, uint32_t index) const {
  return node_of_.at({kind, index});
}

std::string cluster::fingerprint() const {
  return "toy-" + std::to_string(options_.model.key);
}

std::shared_ptr<device> cluster::make_device(uint32_t slots) {
  auto made = std::make_shared<device>();
  made->events = std::make_unique<stream_forwarder>();
  made->stream = std::make_unique<sim_stream>(
    home_, stream_options{options_.model, options_.costs, slots, options_.known}, *made->events);
  return made;
}

node_spec cluster::spec_of(uint32_t number) {
  auto& node = nodes_[number];
  node_spec spec;
  spec.self = {role::node, number, number, node.incarnation};
  spec.times = options_.times;
  spec.layout = options_.model.layout();
  spec.fingerprint = fingerprint();
  spec.chunk_tokens = options_.chunk_tokens;
  spec.by_layer = options_.by_layer;
  spec.batch_max = options_.batch_max;
  spec.slo_tbt_ns = options_.slo_tbt_ns;
  spec.coupled = options_.coupled;
  spec.mixed_chunk_tokens = options_.chunk_tokens;
  spec.make_fabric = [this, number](transport::fabric_events& events) { return fabrics_->make_fabric(number, events); };
  for (const auto& what : node.places) {
    if (what.kind == role::prefill) {
      node.devices[{what.kind, what.index}] = make_device(options_.prefill_slots);
      spec.prefills.push_back({what.index, node.devices[{what.kind, what.index}]});
    } else if (what.kind == role::decode) {
      node.devices[{what.kind, what.index}] = make_device(options_.decode_slots);
      spec.decodes.push_back({what.index, node.devices[{what.kind, what.index}]});
    } else if (what.kind == role::shard) {
      auto& pool = node.pools[what.index];
      pool.assign(options_.shard_slots * spec.layout.block_bytes(), std::byte{0});
      spec.shards.push_back({what.index, pool});
    } else if (what.kind == role::session) {
      auto decoder = [](std::span<const token_id>) { return std::make_unique<plain_decoder>(); };
      spec.session = node_spec::gateway{what.index, decoder, random_.next(), options_.requests_max};
    } else {
      spec.conductor = conductor_options{};
      spec.conductor->profile = profile_of(options_);
      spec.conductor->policy = options_.policy;
      spec.conductor->coupled = options_.coupled;
      spec.conductor->at_decode = options_.at_decode;
      spec.conductor->groups = options_.groups;
      spec.conductor->mixed_chunk_tokens = options_.chunk_tokens;
      spec.conductor->members_expected = options_.prefills + options_.decodes + options_.shards;
      spec.policy = find_routing_policy(options_.policy)->spawn.with({home_.random("policy").next(), {}});
    }
  }
  return spec;
}

void cluster::start(uint32_t number) {
  auto& node = nodes_.at(number);
  assert(!node.alive);
  node.alive = true;
  node.incarnation += random_.between(1, 1000);
  ++node.lives;
  node.knows.clear();
  node.actors = spawn_node(home_.system(), spec_of(number));
  name_actors(node, number);
  for (uint32_t other = 0; other < nodes(); ++other)
    if (other != number && nodes_[other].alive) {
      meet_later(number, other);
      meet_later(other, number);
    }
}

void cluster::name_actors(const node_state& node, uint32_t number) {
  auto life = node.lives == 1 ? std::string{} : "/" + std::to_string(node.lives);
  for (const auto& item : node.actors.addressed) {
    home_.name(item.handle, name_of(item.who) + life);
    // The world may end after the cluster: then nothing is called any more.
    caf::actor_cast<caf::abstract_actor*>(item.handle)
      ->attach_functor([this, &home = home_, number, incarnation = node.incarnation, who = item.who] {
        home.at(0, [this, number, incarnation, who] { ended(number, incarnation, who); });
      });
  }
  for (size_t i = 0; i < node.actors.helpers.size(); ++i)
    home_.name(node.actors.helpers[i], "helper-" + std::to_string(number) + "." + std::to_string(i) + life);
}

/// One actor of a living node ended by itself.
void cluster::ended(uint32_t number, uint64_t incarnation, const address& who) {
  auto& node = nodes_[number];
  if (!node.alive || node.incarnation != incarnation)
    return;
  std::erase_if(node.actors.addressed, [&](const peer_up& item) { return item.who == who; });
  for (uint32_t listener = 0; listener < nodes(); ++listener)
    home_.at(listener == number ? 0 : random_.between(1, options_.connect_ns_max), [this, listener, who] {
      if (nodes_[listener].alive)
        for (const auto& local : nodes_[listener].actors.addressed)
          caf::anon_send(local.handle, peer_down{who});
    });
}

void cluster::kill(uint32_t number) {
  auto& node = nodes_.at(number);
  assert(node.alive);
  node.alive = false;
  links_.kill(number);
  fabrics_->kill(number);
  for (const auto& item : node.actors.addressed)
    home_.kill(item.handle);
  for (const auto& helper : node.actors.helpers)
    home_.kill(helper);
  node.actors = {};
  node.devices.clear();
  node.pools.clear();
  for (uint32_t other = 0; other < nodes(); ++other)
    if (other != number && nodes_[other].alive)
      home_.at(random_.between(options_.detect_ns_min, options_.detect_ns_max),
               [this, other, number, incarnation = node.incarnation] { forget(other, number, incarnation); });
}

void cluster::end(role kind, uint32_t index) {
  const auto& actors = nodes_.at(node_of(kind, index)).actors.addressed;
  auto found = std::find_if(actors.begin(), actors.end(),
                            [&](const peer_up& item) { return item.who.kind == kind && item.who.index == index; });
  if (found != actors.end())
    home_.kill(found->handle); // `ended` does the rest.
}

void cluster::meet_later(uint32_t listener, uint32_t other) {
  home_.at(random_.between(1, options_.connect_ns_max),
           [this, listener, other, mine = nodes_[listener].incarnation, theirs = nodes_[other].incarnation] {
             const auto& here = nodes_[listener];
             const auto& there = nodes_[other];
             if (here.alive && there.alive && here.incarnation == mine && there.incarnation == theirs)
               meet(listener, other);
           });
}

void cluster::meet(uint32_t listener, uint32_t other) {
  auto& here = nodes_[listener];
  const auto& there = nodes_[other];
  if (auto known = here.knows.find(other); known != here.knows.end())
    forget(listener, other, known->second);
  here.knows[other] = there.incarnation;
  for (const auto& item : there.actors.addressed) {
    auto way = links_.make(listener, other, item.handle, std::to_string(listener) + ">" + name_of(item.who));
    for (const auto& local : here.actors.addressed)
      caf::anon_send(local.handle, peer_up{item.who, way});
  }
}

void cluster::forget(uint32_t listener, uint32_t other, uint64_t incarnation) {
  auto& here = nodes_[listener];
  auto known = here.knows.find(other);
  if (!here.alive || known == here.knows.end() || known->second != incarnation)
    return;
  here.knows.erase(known);
  std::vector<address> gone{{role::transport, other, other, incarnation}};
  for (const auto& what : nodes_[other].places) {
    gone.push_back({what.kind, what.index, other, incarnation});
    if (what.kind == role::prefill)
      gone.push_back({role::store_client, what.index * 2, other, incarnation});
    if (what.kind == role::decode)
      gone.push_back({role::store_client, what.index * 2 + 1, other, incarnation});
  }
  for (const auto& who : gone)
    for (const auto& local : here.actors.addressed)
      caf::anon_send(local.handle, peer_down{who});
}

void cluster::cut(uint32_t a, uint32_t b) {
  links_.cut(a, b);
  links_.cut(b, a);
  fabrics_->cut(a, b);
}

void cluster::heal(uint32_t a, uint32_t b) {
  links_.heal(a, b);
  links_.heal(b, a);
  fabrics_->heal(a, b);
}

caf::actor cluster::session_handle(uint32_t gateway) const {
  const auto* node = find_alive(role::session, gateway);
  return node == nullptr ? caf::actor{} : caf::actor_cast<caf::actor>(*node->actors.session);
}

const cluster::node_state* cluster::find_alive(role kind, uint32_t index) const {
  const auto& node = nodes_.at(node_of(kind, index));
  return node.alive ? &node : nullptr;
}

/// Reads an actor's state from outside: nothing runs meanwhile, as there is one thread.
template <class Impl>
const Impl* cluster::find_actor(role kind, uint32_t index) const {
  const auto* node = find_alive(kind, index);
  if (node == nullptr)
    return nullptr;
  for (const auto& item : node->actors.addressed)
    if (item.who.kind == kind && item.who.index == index)
      return dynamic_cast<const Impl*>(caf::actor_cast<caf::abstract_actor*>(item.handle));
  return nullptr;
}

const conductor_core* cluster::conductor_state_of() const {
  const auto* found = find_actor<conductor>(role::conductor, 0);
  return found == nullptr ? nullptr : &found->state.core();
}

const session_core* cluster::session_state_of(uint32_t gateway) const {
  const auto* found = find_actor<session>(role::session, gateway);
  return found == nullptr ? nullptr : &found->state.core();
}

const prefill_core* cluster::prefill_state_of(uint32_t index) const {
  const auto* found = find_actor<prefill>(role::prefill, index);
  return found == nullptr ? nullptr : &found->state.core();
}

const decode_core* cluster::decode_state_of(uint32_t index) const {
  const auto* found = find_actor<decode>(role::decode, index);
  return found == nullptr ? nullptr : &found->state.core();
}

const shard_core* cluster::shard_state_of(uint32_t index) const {
  const auto* found = find_actor<shard_impl>(role::shard, index);
  return found == nullptr ? nullptr : &found->state.core;
}

cluster_cores cluster::cores() const {
  cluster_cores all;
  all.conductor = conductor_state_of();
  for (uint32_t i = 0; i < options_.gateways; ++i)
    all.sessions.push_back(session_state_of(i));
  for (uint32_t i = 0; i < options_.prefills; ++i)
    all.prefills.push_back(prefill_state_of(i));
  for (uint32_t i = 0; i < options_.decodes; ++i)
    all.decodes.push_back(decode_state_of(i));
  for (uint32_t i = 0; i < options_.shards; ++i)
    all.shards.push_back(shard_state_of(i));
  return all;
}

std::span<const std::byte> cluster::shard_memory(uint32_t index) const {
  const auto* node = find_alive(role::shard, index);
  return node == nullptr ? std::span<const std::byte>{} : node->pools.at(index);
}

sim_stream* cluster::stream_of(role kind, uint32_t index) {
  const auto* node = find_alive(kind, index);
  return node == nullptr ? nullptr : static_cast<sim_stream*>(node->devices.at({kind, index})->stream.get());
}

sim_stream* cluster::prefill_stream(uint32_t index) {
  return stream_of(role::prefill, index);
}

sim_stream* cluster::decode_stream(uint32_t index) {
  return stream_of(role::decode, index);
}

void cluster::on_landing(landing_hook hook) {
  landing_ = std::move(hook);
}

void cluster::landing(uint32_t number, const std::byte* first, uint64_t bytes) const {
  if (!landing_ || bytes == 0)
    return;
  auto block_bytes = options_.model.layout().block_bytes();
  auto report = [&](role kind, uint32_t index, std::span<const std::byte> pool) {
    if (first < pool.data() || first >= pool.data() + pool.size())
      return;
    auto begin = static_cast<uint64_t>(first - pool.data());
    for (auto slot = begin / block_bytes; slot <= (begin + bytes - 1) / block_bytes; ++slot)
      landing_(kind, index, static_cast<uint32_t>(slot));
  };
  const auto& node = nodes_[number];
  for (const auto& [place, what] : node.devices)
    report(place.first, place.second, what->stream->pool());
  for (const auto& [index, pool] : node.pools)
    report(role::shard, index, pool);
}

} // namespace perigee::sim
