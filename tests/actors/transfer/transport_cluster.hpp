// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/transfer/transport_core.hpp"
#include "tests/actors/transfer/fake_network.hpp"
#include "tests/actors/transfer/virtual_time.hpp"

#include <doctest/doctest.h>

#include <functional>
#include <memory>
#include <vector>

namespace perigee::testing {

inline constexpr uint64_t ms = 1'000'000;
inline constexpr transport_client some_client = 7;

/// A few nodes with a transport core, a fabric and one region each, and lossy messages between them.
struct transport_cluster {
  struct node final : transport::fabric_events {
    transport_cluster* all = nullptr;
    uint32_t number = 0;
    uint64_t incarnation = 1;
    std::vector<std::byte> memory;
    transport::region_id region = 0;
    std::unique_ptr<transport::fabric> fabric;
    std::unique_ptr<transport_core> core;
    // What the clients were told.
    std::vector<moved> moves;
    std::vector<uint64_t> fences;
    std::vector<uint32_t> arrivals;

    void completed(uint64_t id, status result, uint64_t bytes) override {
      core->completed({id, std::move(result), bytes}, all->time.now());
      all->flush();
    }
    void arrived(transport::peer_id peer, uint32_t immediate) override {
      core->arrived_here({peer, immediate});
      all->flush();
    }
    void fenced(transport::peer_id peer) override {
      core->fenced({peer}, all->time.now());
      all->flush();
    }
  };

  explicit transport_cluster(uint64_t seed, uint32_t size = 2, size_t bytes = 4096, transport_limits limits = {})
    : random(sim::derived_seed(seed, "cluster")), limits(limits),
      net(seed, [this](uint64_t delay, std::function<void()> action) { time.after(delay, std::move(action)); }),
      nodes(size) {
    for (uint32_t number = 0; number < size; ++number) {
      nodes[number].all = this;
      nodes[number].number = number;
      nodes[number].memory.resize(bytes);
      start(number);
    }
    for (uint32_t number = 0; number < size; ++number)
      introduce(number);
  }

  ~transport_cluster() {
    for (auto& it : nodes)
      it.fabric.reset();
  }

  address transport_of(uint32_t number) const {
    return {role::transport, number, number, nodes[number].incarnation};
  }

  /// Some other actor of that node, whose memory the region is.
  address owner_of(uint32_t number) const {
    return {role::shard, number, number, nodes[number].incarnation};
  }

  void start(uint32_t number) {
    auto& it = nodes[number];
    it.fabric = net.make(number, it);
    it.region = it.fabric->register_memory(it.memory);
    it.core = std::make_unique<transport_core>(*it.fabric, transport_of(number), transfer_ns, retry_ns, limits);
  }

  /// Everybody learns of that node, and it of everybody.
  void introduce(uint32_t number) {
    for (auto& it : nodes)
      for (auto& who : {transport_of(number), owner_of(number)}) {
        it.core->peer_up(who, time.now());
        nodes[number].core->peer_up(transport_of(it.number), time.now());
        nodes[number].core->peer_up(owner_of(it.number), time.now());
      }
    flush();
  }

  void restart(uint32_t number) {
    auto gone = std::vector<address>{owner_of(number), transport_of(number)};
    auto& it = nodes[number];
    it.core.reset();
    it.fabric.reset();
    it.moves.clear();
    it.fences.clear();
    it.arrivals.clear();
    ++it.incarnation;
    start(number);
    for (auto& other : nodes)
      if (other.number != number)
        for (const auto& who : gone)
          other.core->peer_down(who, time.now());
    introduce(number);
  }

  move_blocks job(uint64_t id, uint32_t from, uint32_t to, uint64_t offset = 0, uint64_t bytes = 8) const {
    auto work = move_blocks{};
    work.id = id;
    work.peer = owner_of(to);
    work.local = nodes[from].region;
    work.remote = nodes[to].fabric->remote(nodes[to].region);
    work.pieces = {{offset, offset, bytes}};
    return work;
  }

  void move(uint32_t from, const move_blocks& work) {
    nodes[from].core->move(some_client, work, time.now());
    flush();
  }

  void flush() {
    for (auto& from : nodes)
      if (from.core)
        for (auto& it : from.core->take_output())
          std::visit([&](auto& what) { deliver(from, what); }, it.what);
  }

  void deliver(node& at, transport_output::to_client& what) {
    if (auto* end = std::get_if<moved>(&what.message))
      at.moves.push_back(*end);
    else if (auto* fence = std::get_if<node_fenced>(&what.message))
      at.fences.push_back(fence->id);
    else
      at.arrivals.push_back(std::get<perigee::arrived>(what.message).immediate);
    if (on_output)
      on_output(at, what);
  }

  void deliver(node&, transport_output::to_peer& what) {
    for (uint64_t copies = random.chance(loss_ppm) ? 0 : 1 + random.chance(loss_ppm); copies > 0; --copies)
      time.after(1 + random.below(delay_ns_max), [this, what] {
        auto& to = nodes[what.to.node];
        if (what.to != transport_of(to.number))
          return;
        if (auto* hello = std::get_if<fabric_hello>(&what.message))
          to.core->hello(*hello, time.now());
        else
          to.core->hello_ack(std::get<fabric_hello_ack>(what.message));
        flush();
      });
  }

  void run_for(uint64_t span_ns) {
    for (auto end = time.now() + span_ns; time.now() < end; time.run_for(5 * ms)) {
      for (auto& it : nodes)
        it.core->tick(time.now());
      flush();
      for (auto& it : nodes)
        REQUIRE(it.core->check());
    }
  }

  uint64_t transfer_ns = 200 * ms;
  uint64_t retry_ns = 20 * ms;
  uint32_t loss_ppm = 0;
  uint64_t delay_ns_max = 1 * ms;
  sim::random_stream random;
  virtual_time time;
  transport_limits limits;
  fake_network net;
  std::vector<node> nodes;
  std::function<void(node&, const transport_output::to_client&)> on_output;
};

} // namespace perigee::testing
