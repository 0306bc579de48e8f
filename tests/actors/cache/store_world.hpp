// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/cache/shard.hpp"
#include "actors/cache/store_client.hpp"
#include "actors/sim/link.hpp"
#include "actors/sim/sim_network.hpp"
#include "actors/transfer/transport.hpp"
#include "tests/actors/transfer/fake_network.hpp"

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace perigee::testing {

struct store_world_options {
  uint64_t seed = 1;
  bool digest = false;
  bool hostile = false; ///< over `fake_network`, whose writes land as late as the contract of fabric allows
  uint32_t nodes = 4;
  uint32_t shards = 3;       ///< on the first nodes
  uint32_t shard_slots = 24; ///< few enough to evict
  uint32_t pool_slots = 24;  ///< of each instance
};

/// Shards, store clients and transport actors in the simulated world; every node has an instance that fetches and
/// publishes at random, and checks what it gets. Instances are no actors of production: they stand for prefill and
/// decode.
///
/// The content of a block follows from its key. Whatever must hold is checked at every instant, by doctest.
class store_world {
public:
  explicit store_world(const store_world_options& options);
  ~store_world();

  /// Lets the instances work for a while.
  void work_for(caf::timespan span);

  /// Ends all actors of a node; the others hear of it, and later of its successor.
  void restart(uint32_t node);

  /// Ends a shard alone; its memory stays, and what instances beside it were lent.
  void end_shard(uint32_t node);

  /// Kills the Conductor's memory: a new reign begins.
  void new_term();

  /// Lets everything come to rest, with a kind network, and checks what must hold then.
  void settle();

  fake_network hostile_network; ///< outlives the actors, as the others do
  sim::world home;
  sim::links links;
  std::shared_ptr<sim::sim_network> network;

  struct counters {
    uint64_t fetches = 0;
    uint64_t fetched_blocks = 0;
    uint64_t lent_blocks = 0;
    uint64_t extended = 0; ///< publishes of blocks that follow lent ones
    uint64_t publishes = 0;
    uint64_t in_parts = 0; ///< the same, whose last part was sent
    uint64_t stored_blocks = 0;
    uint64_t cancels = 0;
    uint64_t evicted = 0;
    uint64_t abandoned = 0;
  };
  counters totals;

private:
  struct open_job {
    bool reads = false;
    std::vector<block_key> keys;
    std::vector<uint32_t> slots;
    uint64_t answer_by = 0;
    uint32_t lend = 0;
    // of a publish in parts
    uint32_t parts_next = 0;
    uint32_t parts_end = 0;         ///< perhaps not all of them
    std::set<uint64_t> parts_open = {}; ///< offsets of those that are not answered
    bool answered = false;
  };

  /// Blocks at the shard beside the instance that it reads in place.
  struct loan {
    std::vector<block_key> keys;
    std::vector<uint32_t> slots; ///< `no_slot` where the block was copied
  };

  struct node {
    uint64_t incarnation = 0;
    uint64_t shard_key = 0; ///< of the shard's region
    std::vector<std::byte> shard_memory;
    std::vector<std::byte> pool_memory;
    std::vector<std::pair<address, caf::actor>> actors; ///< with an address
    shard_impl* shard = nullptr;
    store_client_impl* store = nullptr;
    store_client_actor store_handle;
    caf::actor instance;
    std::set<uint32_t> idle; ///< slots of the pool in no job; they hold `junk`
    std::map<uint64_t, open_job> jobs;
    std::map<uint64_t, loan> loans; ///< by fetch
    /// Generation and content of each free slot of the shard when it became free.
    std::map<uint32_t, std::pair<uint32_t, std::vector<std::byte>>> resting;
  };

  void start(uint32_t number);
  void introduce(const address& who, const caf::actor& handle, uint32_t to);
  void introduce_all(uint32_t number);
  void start_conductor();
  void read_index(const index_events& batch);
  void act(uint32_t number);
  void act_later(uint32_t number);
  void begin_fetch(node& it);
  void begin_publish(node& it);
  void begin_extension(node& it);
  void begin_publish_in_parts(uint32_t number);
  void send_part_later(uint32_t number, uint64_t id);
  void give_back_one(node& it);
  std::vector<block_key> some_chain(std::vector<block_key> begin = {});
  std::vector<uint32_t> take_slots(node& it, size_t count);
  void done(uint32_t number, uint64_t incarnation, const fetched& news);
  void done(uint32_t number, uint64_t incarnation, const published& news);
  void done(uint32_t number, uint64_t incarnation, const part_published& news);
  open_job& answered_job(uint32_t number, uint64_t incarnation, uint64_t id);
  void forget_if_over(node& it, uint64_t id);
  void put_back(node& it, const std::vector<uint32_t>& slots);
  std::optional<std::pair<const block_pool*, uint32_t>> slot_at(uint64_t key, uint64_t offset) const;
  void check();
  std::string wrong_at_shard(node& it);
  std::set<block_key> content(const node& it) const;

  const store_world_options options_;
  timing times_;
  sim::random_stream random_;
  std::map<uint32_t, node> nodes_;
  uint64_t incarnations_ = 100;
  uint64_t jobs_made_ = 0;
  bool working_ = false;
  // The Conductor's side.
  address conductor_;
  caf::actor conductor_handle_;
  uint64_t term_ = 1;
  std::map<address, std::pair<uint64_t, uint64_t>> feeds_; ///< epoch and next sequence
  std::map<address, std::set<block_key>> index_;
  std::map<address, caf::actor> shard_handles_; ///< from the Conductor's node
};

} // namespace perigee::testing
