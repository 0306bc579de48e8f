// SPDX-License-Identifier: Apache-2.0
#include "actors/node/runtime.hpp"

#include "actors/core/message_types.hpp"
#include "actors/edge/tap.hpp"
#include "actors/node/incarnation.hpp"
#include "actors/node/membership.hpp"
#include "actors/node/node_actors.hpp"
#include "actors/node/node_system.hpp"
#include "actors/node/pool_touch.hpp"
#include "actors/node/remote_policy.hpp"
#include "actors/policy/registry.hpp"
#include "actors/policy/reserved_names.hpp"
#include "kernels/cpu/core_share.hpp"
#include "kernels/cpu/memory_nodes.hpp"
#include "transport/libfabric/libfabric_fabric.hpp"
#include "transport/local/local_fabric.hpp"
#include "transport/local/local_network.hpp"
#include "transport/pool_memory.hpp"

#include <caf/actor_system.hpp>
#include <caf/exit_reason.hpp>
#include <caf/io/middleman.hpp>
#include <caf/scoped_actor.hpp>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <span>
#include <thread>
#include <tuple>

namespace perigee::actors {

namespace {

uint64_t ns(std::chrono::nanoseconds span) {
  return static_cast<uint64_t>(span.count());
}

} // namespace

struct node_runtime::parts {
  parts(const cluster_config& cluster, const std::string& name, std::shared_ptr<const kernels::model> weights,
        runtime_options how)
    : config(cluster), node(*config.find(name)), model(std::move(weights)), options(std::move(how)) {}

  uint32_t place_of(const node_config& wanted) const {
    return static_cast<uint32_t>(&wanted - config.nodes.data());
  }

  /// Number of the first `what` of this node, counted over the cluster.
  uint32_t first(node_role what) const {
    auto count = uint32_t{0};
    for (const auto& other : config.nodes) {
      if (&other == &node)
        break;
      count += other.count(what);
    }
    return count;
  }

  uint32_t instances() const {
    return std::max(1u, node.count(node_role::prefill) + node.count(node_role::decode));
  }

  /// `number`: of the instance in this process.
  node_spec::instance make_instance(uint32_t index, uint32_t number, const progress& loading) {
    auto how = kernels::stream_options{};
    how.slots = static_cast<uint32_t>(std::max<uint64_t>(2, node.kv_memory / layout.block_bytes()));
    how.block_tokens = config.block_tokens;
    // Each may use all cores, but those that compute at the same time divide them.
    how.threads = node.threads > 0 ? node.threads : std::max(1u, std::thread::hardware_concurrency());
    if (node.threads == 0)
      how.cores = cores;
    if (node.pin_threads)
      how.pin_from = number * std::max(1u, node.threads > 0 ? node.threads : how.threads / instances());
    how.batch_invariant = config.batch_invariant;
    how.packing = [&loading](double share) { loading("packing the weights", share); };
    return {index, make_instance_device(parse_device_choice(node.device).value(), model, how, config.max_batch,
                                        options.devices, options.report)};
  }

  bool decides_elsewhere() const {
    return node.count(node_role::conductor) > 0 && config.policy.route == remote_policy_name;
  }

  std::function<policy_actor(caf::actor_system&)> make_policy_maker(uint64_t incarnation) const {
    if (!decides_elsewhere())
      return find_routing_policy(config.policy.route)->spawn.with({incarnation, config.policy.route_params});
    auto how = remote_policy_options{};
    std::tie(how.host, how.port) = parse_place(config.policy.remote).value();
    how.cluster = config.served_name() + " on node " + node.name;
    how.report = options.report;
    return [how](caf::actor_system& where) -> policy_actor { return where.spawn<remote_policy>(how); };
  }

  node_spec make_spec(uint64_t incarnation, const progress& loading) {
    auto spec = node_spec{};
    spec.self = {role::node, place_of(node), place_of(node), incarnation};
    spec.times.request = std::chrono::duration_cast<caf::timespan>(config.request_timeout);
    spec.layout = layout;
    spec.fingerprint = fingerprint;
    spec.chunk_tokens = config.prefill_chunk;
    spec.by_layer = config.prefill_by_layer;
    spec.batch_max = config.max_batch;
    spec.slo_tbt_ns = ns(config.slo.tbt);
    spec.order = find_local_order(config.policy.local_order).value();
    spec.coupled = find_coupling(config.policy.coupled).value();
    spec.mixed_chunk_tokens = config.prefill_chunk;
    spec.evicts = find_eviction(config.policy.eviction).value();
    spec.copies_cool = config.policy.copies_cool;
    for (auto i = 0u; i < node.count(node_role::prefill); ++i)
      spec.prefills.push_back(make_instance(first(node_role::prefill) + i, i, loading));
    for (auto i = 0u; i < node.count(node_role::decode); ++i)
      spec.decodes.push_back(make_instance(first(node_role::decode) + i, node.count(node_role::prefill) + i, loading));
    if (node.begin_as != "both")
      for (auto i = size_t{0}; i < std::min(spec.prefills.size(), spec.decodes.size()); ++i) {
        spec.prefills[i].twin = spec.decodes[i].index + 1;
        spec.decodes[i].twin = spec.prefills[i].index + 1;
        (node.begin_as == "prefill" ? spec.decodes : spec.prefills)[i].spare = true;
      }
    // With several memory nodes the KV of an instance lies beside whoever computes it, and so is touched by nobody else.
    if (kernels::cpu::memory_nodes().size() < 2)
      for (const auto* group : {&spec.prefills, &spec.decodes})
        for (const auto& instance : *group)
          pools.push_back(instance.work->stream->pool());
    for (auto i = 0u; i < node.count(node_role::shard); ++i) {
      auto blocks = std::max<uint64_t>(1, node.shard_memory / layout.block_bytes());
      shard_memory.emplace_back(blocks * layout.block_bytes());
      spec.shards.push_back({first(node_role::shard) + i, shard_memory.back().bytes()});
      pools.push_back(shard_memory.back().bytes());
    }
    if (node.count(node_role::gateway) > 0)
      spec.session = {first(node_role::gateway), options.decoder, random_seed(), 4096};
    if (node.count(node_role::conductor) > 0) {
      spec.conductor = conductor_options{};
      spec.conductor->policy = config.policy.route;
      spec.conductor->admit = find_admission(config.policy.admission).value();
      spec.conductor->coupled = spec.coupled;
      spec.conductor->mixed_chunk_tokens = spec.mixed_chunk_tokens;
      if (const auto& limits = config.policy.conditional)
        spec.conductor->at_decode = conditional{limits->uncached_tokens_max, limits->uncached_percent_max / 100.0};
      spec.conductor->slo_ttft_ns = ns(config.slo.ttft);
      spec.conductor->slo_tbt_ns = ns(config.slo.tbt);
      for (auto what : {node_role::prefill, node_role::decode, node_role::shard})
        spec.conductor->members_expected += config.count(what);
      const auto* route = find_routing_policy(config.policy.route);
      spec.conductor->changes_roles = route && route->changes_roles;
      if (const auto& limits = config.policy.cpp)
        spec.conductor->groups = pipelining{limits->uncached_tokens_min, limits->stages_max, limits->chunk_tokens};
      else if (route && spec.coupled == coupling::none)
        spec.conductor->groups = route->groups;
      spec.policy = make_policy_maker(incarnation);
    }
    spec.make_fabric = [this](transport::fabric_events& events) -> std::unique_ptr<transport::fabric> {
      if (config.nodes.size() == 1)
        return transport::make_local_fabric(transport::make_local_network(), events);
      auto how = transport::libfabric_options{};
      how.provider = config.provider;
      how.host = node.host;
      return transport::make_libfabric(how, events);
    };
    return spec;
  }

  membership_options make_membership(uint64_t incarnation) {
    auto result = membership_options{};
    result.hello.version = wire_version;
    result.hello.cluster = model->dir().filename().string() + " with " + std::to_string(config.block_tokens)
                           + " tokens a block, fingerprint " + fingerprint.substr(0, 16);
    result.hello.from = {role::node, place_of(node), place_of(node), incarnation};
    result.hello.name = node.name;
    result.hello.actors = running.addressed;
    for (const auto& other : config.nodes)
      if (&other != &node)
        result.others.push_back({place_of(other), other.name, other.host, other.control});
    result.report = options.report;
    result.on_peer = [this](const peer_up& news) {
      options.on_peer(news);
      auto vital = news.who.kind == role::conductor || news.who.kind == role::session || news.who.kind == role::shard
                   || news.who.kind == role::transport;
      if (news.handle || !vital || news.who.node != place_of(node))
        return;
      auto guard = std::lock_guard{mutex};
      broken = !stopping;
      changed.notify_all();
    };
    return result;
  }

  void start(const progress& loading) {
    init_node_types();
    layout = model->layout(config.block_tokens);
    fingerprint =
      model->fingerprint(config.block_tokens, [&](double share) { loading("reading the weights", share); });
    auto networked = config.nodes.size() > 1;
    if (!config.tap.empty())
      recorder = std::make_unique<tap>(config.tap);
    caf_config = std::make_unique<node_system_config>(networked || decides_elsewhere(), recorder.get());
    system = std::make_unique<caf::actor_system>(*caf_config);
    auto incarnation = next_incarnation(node.name);
    running = spawn_node(*system, make_spec(incarnation, loading));
    if (recorder)
      for (const auto& item : running.addressed)
        recorder->name(item.handle, name_of(item.who));
    touch.emplace(pools, memory_to_touch_max());
    members = caf::actor_cast<caf::actor>(system->spawn<membership>(make_membership(incarnation)));
    if (!networked)
      return;
    auto host = node.host;
    if (auto port = system->middleman().publish(members, node.control, host.c_str(), true); !port)
      throw failure{errc::io_error, "the control port " + host + ":" + std::to_string(node.control)
                                      + " cannot be opened: " + caf::to_string(port.error())
                                      + "; is another node running there?"};
  }

  void end() {
    touch.reset();
    if (!system)
      return;
    {
      auto guard = std::lock_guard{mutex};
      stopping = true;
    }
    caf::anon_send_exit(members, caf::exit_reason::user_shutdown);
    stop_node(running);
    members = nullptr;
    running = {};
    system.reset();
  }

  cluster_config config;
  const node_config& node;
  std::shared_ptr<const kernels::model> model;
  runtime_options options;
  kernels::kv_layout layout;
  std::string fingerprint;
  std::vector<transport::pool_memory> shard_memory; // outlives the actors
  std::vector<std::span<std::byte>> pools;
  std::optional<pool_touch> touch; // ends before the actors, with whom pools go
  std::shared_ptr<kernels::cpu::core_share> cores =
    std::make_shared<kernels::cpu::core_share>(std::max(1u, std::thread::hardware_concurrency()));
  std::unique_ptr<tap> recorder;
  std::unique_ptr<node_system_config> caf_config;
  std::unique_ptr<caf::actor_system> system;
  node_actors running;
  caf::actor members;

  std::mutex mutex;
  std::condition_variable changed;
  bool stopping = false;
  bool broken = false;
};

node_runtime::node_runtime(const cluster_config& config, const std::string& name,
                           std::shared_ptr<const kernels::model> model, runtime_options options)
  : parts_(std::make_unique<parts>(config, name, std::move(model), std::move(options))) {}

node_runtime::~node_runtime() {
  parts_->end();
}

void node_runtime::start(const progress& loading) {
  parts_->start(loading ? loading : [](const std::string&, double) {});
}

caf::actor_system& node_runtime::system() {
  return *parts_->system;
}

std::optional<session_actor> node_runtime::session() const {
  return parts_->running.session;
}

transport_actor node_runtime::transport() const {
  return parts_->running.transport;
}

bool node_runtime::idle() {
  auto self = caf::scoped_actor{*parts_->system};
  auto held = uint64_t{0};
  auto ask = [&](const auto& instance) {
    self->request(instance, std::chrono::seconds{1}, atom::get_status_v)
      .receive([&](uint64_t attempts) { held += attempts; }, [](const caf::error&) {});
  };
  for (const auto& instance : parts_->running.prefills)
    ask(instance);
  for (const auto& instance : parts_->running.decodes)
    ask(instance);
  return held == 0;
}

void node_runtime::stop() {
  auto guard = std::lock_guard{parts_->mutex};
  parts_->stopping = true;
  parts_->changed.notify_all();
}

bool node_runtime::wait() {
  auto lock = std::unique_lock{parts_->mutex};
  parts_->changed.wait(lock, [&] { return parts_->stopping || parts_->broken; });
  return !parts_->broken;
}

} // namespace perigee::actors
