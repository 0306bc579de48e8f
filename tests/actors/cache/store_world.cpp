// SPDX-License-Identifier: Apache-2.0
#include "tests/actors/cache/store_world.hpp"
#include "tests/actors/cache/store_world_blocks.hpp"

#include <caf/event_based_actor.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>

namespace perigee::testing {

using namespace std::chrono_literals;
using namespace store_blocks;

namespace {

constexpr uint64_t ms = 1'000'000;
constexpr uint32_t conductor_node = 99;

} // namespace

store_world::store_world(const store_world_options& options)
  : hostile_network(options.seed,
                    [this](uint64_t delay, std::function<void()> action) { home.at(delay, std::move(action)); }),
    home({.seed = options.seed, .digest = options.digest}), links(home, {}), network(sim::sim_network::make(home, {})),
    options_(options), random_(home.random("store-world")) {
  times_.tick = 5ms;
  times_.retry = 20ms;
  times_.report = 50ms;
  times_.transfer = 100ms;
  hostile_network.stamp = [this](uint64_t key, uint64_t offset) {
    auto slot = slot_at(key, offset);
    return slot ? uint64_t{slot->first->generation(slot->second)} : 0;
  };
  hostile_network.on_landing = [this](const fake_network::landing& what) {
    auto slot = slot_at(what.key, what.offset);
    REQUIRE(slot.has_value());
    REQUIRE(slot->first->state(slot->second) == slot_state::transfer);
    REQUIRE_EQ(slot->first->generation(slot->second), what.stamp);
  };
  start_conductor();
  for (uint32_t number = 0; number < options.nodes; ++number)
    start(number);
  for (uint32_t number = 0; number < options.nodes; ++number)
    introduce_all(number);
  home.on_instant([this] { check(); });
}

store_world::~store_world() = default;

void store_world::start(uint32_t number) {
  auto& it = nodes_[number];
  it = node{};
  it.incarnation = ++incarnations_;
  auto at = [&](role kind) { return address{kind, number, number, it.incarnation}; };
  auto suffix = "-" + std::to_string(number) + "." + std::to_string(it.incarnation);
  it.shard_memory.resize(options_.shard_slots * block_bytes);
  it.pool_memory.resize(options_.pool_slots * block_bytes);
  for (uint32_t slot = 0; slot < options_.pool_slots; ++slot) {
    it.idle.insert(slot);
    fill(it.pool_memory, slot, junk);
  }
  auto shard_region = transport::remote_region{};
  auto shard_local = transport::region_id{};
  auto pool_region = transport::region_id{};
  auto make = [&](transport::fabric_events& events) {
    auto fabric = options_.hostile ? hostile_network.make(number, events) : network->make_fabric(number, events);
    shard_local = fabric->register_memory(it.shard_memory);
    shard_region = fabric->remote(shard_local);
    it.shard_key = shard_region.key;
    pool_region = fabric->register_memory(it.pool_memory);
    return fabric;
  };
  auto transport = spawn_transport(home.system(), {at(role::transport), times_, {4 * block_bytes, 64}, make});
  home.name(caf::actor_cast<caf::actor>(transport), "transport" + suffix);
  it.actors.emplace_back(at(role::transport), caf::actor_cast<caf::actor>(transport));
  if (number < options_.shards) {
    auto shard = home.spawn_class<shard_impl>(
      "shard" + suffix, shard_options{at(role::shard), times_, shard_region, options_.shard_slots, transport, {}});
    it.shard = static_cast<shard_impl*>(caf::actor_cast<caf::abstract_actor*>(shard));
    it.actors.emplace_back(at(role::shard), caf::actor_cast<caf::actor>(shard));
  }
  auto local = number < options_.shards && number != 0 ? std::optional{number} : std::nullopt;
  auto lent = local ? std::optional{lent_pool{*local, options_.pool_slots, shard_local}} : std::nullopt;
  it.store_handle = home.spawn_class<store_client_impl>(
    "store" + suffix,
    store_client_options{at(role::store_client), times_, pool_region, block_bytes, local, transport, lent});
  it.store = static_cast<store_client_impl*>(caf::actor_cast<caf::abstract_actor*>(it.store_handle));
  it.actors.emplace_back(at(role::store_client), caf::actor_cast<caf::actor>(it.store_handle));
  it.instance = home.spawn("instance" + suffix, [this, number, incarnation = it.incarnation](caf::event_based_actor*) {
    return caf::behavior{
      [this, number, incarnation](const fetched& news) { done(number, incarnation, news); },
      [this, number, incarnation](const published& news) { done(number, incarnation, news); },
      [this, number, incarnation](const part_published& news) { done(number, incarnation, news); },
    };
  });
  act_later(number);
}

void store_world::introduce(const address& who, const caf::actor& handle, uint32_t to) {
  auto name = name_of(who) + "@" + std::to_string(to);
  auto way = who.node == to ? handle : links.make(to, who.node, handle, name);
  for (auto& [address, local] : nodes_.at(to).actors)
    caf::anon_send(local, peer_up{who, way});
}

/// That node learns of all, and all of that node.
void store_world::introduce_all(uint32_t number) {
  for (auto& [other, it] : nodes_)
    for (auto& [who, handle] : it.actors)
      introduce(who, handle, number);
  introduce(conductor_, conductor_handle_, number);
  for (auto& [who, handle] : nodes_.at(number).actors) {
    for (auto& [other, it] : nodes_)
      if (other != number)
        introduce(who, handle, other);
    if (who.kind == role::shard)
      shard_handles_[who] = links.make(conductor_node, number, handle, name_of(who) + "@conductor");
  }
}

void store_world::restart(uint32_t number) {
  auto found = nodes_.find(number);
  if (found == nodes_.end())
    return;                                                       // it is being restarted
  auto memory = std::make_shared<node>(std::move(found->second)); // outlives the fabric that knows it
  nodes_.erase(found);
  auto gone = memory->actors;
  if (memory->shard)
    totals.evicted += memory->shard->state.core.counters().evicted;
  links.kill(number);
  network->kill(number);
  for (auto& [who, handle] : gone)
    home.kill(handle);
  home.kill(memory->instance);
  home.at(1000 * ms, [memory] {});
  // The others hear of it at different times, actor by actor in any order.
  for (auto& [other, it] : nodes_)
    for (auto& [who, handle] : gone)
      for (auto& [address, local] : it.actors)
        home.at((1 + random_.below(60)) * ms, [who = who, local = local] { caf::anon_send(local, peer_down{who}); });
  for (auto& [who, handle] : gone) {
    shard_handles_.erase(who);
    index_.erase(who);
    feeds_.erase(who);
  }
  home.at(70 * ms, [this, number] {
    start(number);
    introduce_all(number);
  });
}

// -- the Conductor --

void store_world::start_conductor() {
  conductor_ = {role::conductor, 0, conductor_node, ++incarnations_};
  conductor_handle_ = home.spawn("conductor", [this](caf::event_based_actor* self) {
    self->delayed_send(self, 30ms, atom::tick_v);
    return caf::behavior{
      [this, self](atom::tick) {
        for (auto& [who, handle] : shard_handles_)
          caf::anon_send(handle, conductor_hello{conductor_, term_});
        self->delayed_send(self, 30ms, atom::tick_v);
      },
      [this](const index_events& batch) { read_index(batch); },
      [this](const report& news) {
        CHECK_LE(news.slots_free, news.slots_total);
        if (auto at = shard_handles_.find(news.from); at != shard_handles_.end())
          caf::anon_send(at->second, report_ack{conductor_, news.term, news.sequence});
      },
    };
  });
}

void store_world::end_shard(uint32_t number) {
  auto& it = nodes_.at(number);
  REQUIRE(it.shard);
  it.shard = nullptr;
  auto at =
    std::find_if(it.actors.begin(), it.actors.end(), [](const auto& one) { return one.first.kind == role::shard; });
  auto [who, handle] = *at;
  it.actors.erase(at);
  home.kill(handle);
  for (auto& [other, there] : nodes_)
    for (auto& [address, local] : there.actors)
      caf::anon_send(local, peer_down{who});
  shard_handles_.erase(who);
  index_.erase(who);
  feeds_.erase(who);
}

void store_world::new_term() {
  ++term_;
  index_.clear();
  feeds_.clear();
}

void store_world::read_index(const index_events& batch) {
  auto handle = shard_handles_.find(batch.from);
  if (handle == shard_handles_.end() || batch.term != term_)
    return;
  auto& [epoch, next] = feeds_[batch.from];
  auto& keys = index_[batch.from];
  if (batch.epoch > epoch && batch.sequence == 0) {
    epoch = batch.epoch;
    next = 0;
    keys.clear();
  }
  if (batch.epoch == epoch && batch.sequence <= next) {
    for (auto i = next - batch.sequence; i < batch.events.size(); ++i, ++next) {
      if (batch.events[i].stored)
        keys.insert(batch.events[i].key);
      else
        keys.erase(batch.events[i].key);
    }
  }
  auto lost = batch.epoch > epoch || (batch.epoch == epoch && batch.sequence > next);
  caf::anon_send(handle->second, index_ack{conductor_, batch.term, batch.epoch, next, lost});
}

// -- what must hold --

std::optional<std::pair<const block_pool*, uint32_t>> store_world::slot_at(uint64_t key, uint64_t offset) const {
  for (const auto& [number, it] : nodes_)
    if (it.shard && it.shard_key == key)
      return std::pair{&it.shard->state.core.index().pool(), static_cast<uint32_t>(offset / block_bytes)};
  return std::nullopt;
}

void store_world::check() {
  auto wrong = home.deaths().empty() ? std::string{} : home.deaths().front();
  for (auto& [number, it] : nodes_) {
    auto on_node = " on node " + std::to_string(number);
    if (!it.store->state.core.check())
      wrong = "jobs and operations do not add up" + on_node;
    for (auto slot : it.idle)
      if (!holds(it.pool_memory, slot, junk))
        wrong = "something landed in a slot that no job uses" + on_node;
    for (const auto& [id, lent] : it.loans)
      for (size_t i = 0; i < lent.keys.size(); ++i)
        if (lent.slots[i] != no_slot && !holds(it.shard_memory, lent.slots[i], lent.keys[i]))
          wrong = "a lent block changed" + on_node;
    for (const auto& [id, job] : it.jobs)
      if (home.now() > job.answer_by)
        wrong = "a job was not answered in time" + on_node;
    if (auto found = it.shard ? wrong_at_shard(it) : std::string{}; !found.empty())
      wrong = found + on_node;
  }
  if (!wrong.empty())
    FAIL(wrong); // an assertion an instant would cost more than all of the above
}

std::string store_world::wrong_at_shard(node& it) {
  const auto& core = it.shard->state.core;
  if (!core.check())
    return "slots, pins and keys of the shard do not add up";
  const auto& index = core.index();
  for (auto key = index.next(std::nullopt); key; key = index.next(key))
    if (!holds(it.shard_memory, index.find(*key).value(), *key))
      return "a visible block has not the content of its key";
  // What nobody has, nobody writes.
  for (uint32_t slot = 0; slot < index.pool().capacity(); ++slot) {
    if (index.pool().state(slot) != slot_state::free) {
      it.resting.erase(slot);
      continue;
    }
    const auto* bytes = it.shard_memory.data() + slot * block_bytes;
    auto [at, fresh] = it.resting.try_emplace(slot);
    auto& [generation, known] = at->second;
    if (fresh || generation != index.pool().generation(slot)) {
      generation = index.pool().generation(slot);
      known.assign(bytes, bytes + block_bytes);
    }
    if (std::memcmp(known.data(), bytes, block_bytes) != 0)
      return "a write landed in a free slot";
  }
  return {};
}

std::set<block_key> store_world::content(const node& it) const {
  auto out = std::set<block_key>{};
  const auto& index = it.shard->state.core.index();
  for (auto key = index.next(std::nullopt); key; key = index.next(key))
    out.insert(*key);
  return out;
}

void store_world::work_for(caf::timespan span) {
  working_ = true;
  home.run_for(span);
  working_ = false;
}

void store_world::settle() {
  links.set_options({});
  network->set_options({});
  hostile_network.set_faults({});
  home.run_for(1500ms);
  auto return_all = [this] {
    for (auto& [number, it] : nodes_)
      while (!it.loans.empty())
        give_back_one(it);
    home.run_for(10ms);
  };
  return_all();
  for (auto& [number, it] : nodes_) {
    CHECK(it.jobs.empty());
    CHECK_EQ(it.store->state.core.open_loans(), 0);
    CHECK_EQ(it.store->state.core.open_jobs(), 0);
    CHECK_EQ(it.store->state.core.open_ops(), 0);
    if (!it.shard)
      continue;
    const auto& core = it.shard->state.core;
    CHECK_EQ(core.index().pool().count(slot_state::transfer), 0);
    for (auto key = core.index().next(std::nullopt); key; key = core.index().next(key))
      CHECK_EQ(core.index().pool().refs(core.index().find(*key).value()), 1);
    CHECK(index_[it.actors[1].first] == content(it));
    totals.evicted += core.counters().evicted;
    totals.abandoned += core.counters().abandoned_slots;
  }
  // And it works.
  auto before = totals;
  work_for(500ms);
  home.run_for(1000ms);
  return_all();
  CHECK_GT(totals.fetched_blocks, before.fetched_blocks);
  CHECK_GT(totals.stored_blocks, before.stored_blocks);
  for (auto& [number, it] : nodes_)
    CHECK(it.jobs.empty());
}

} // namespace perigee::testing
