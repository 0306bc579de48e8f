// SPDX-License-Identifier: Apache-2.0
#include "actors/cache/shard_core.hpp"
#include "tests/support/testing.hpp"

#include <map>
#include <random>
#include <set>

using namespace perigee;

namespace {

constexpr auto self = address{role::shard, 0, 0, 5};
constexpr auto client_a = address{role::store_client, 0, 1, 11};
constexpr auto client_b = address{role::store_client, 1, 2, 12};
constexpr auto conductor = address{role::conductor, 0, 9, 13};
constexpr uint32_t lane = 3;

std::vector<block_key> keys(uint64_t first, uint64_t last) {
  auto out = std::vector<block_key>{};
  for (auto n = first; n <= last; ++n)
    out.push_back({n, n});
  return out;
}

struct fixture {
  explicit fixture(uint32_t slots, shard_limits limits = {})
    : core(self, {77, 0, slots * 10ull}, slots, 100, 1000, limits) {
    core.set_lane(lane);
    core.peer_up(client_a);
    core.peer_up(client_b);
  }

  /// The only answer of that kind since the last call; nothing if there was none.
  template <class Message>
  std::optional<Message> answer() {
    auto out = std::optional<Message>{};
    for (auto& it : core.take_output())
      if (auto* message = std::get_if<Message>(&it.message)) {
        REQUIRE_FALSE(out.has_value());
        out = *message;
      }
    REQUIRE(core.check());
    return out;
  }

  allocated allocate_for(const address& who, uint64_t op, const std::vector<block_key>& which, uint64_t open_from = 0) {
    core.on_allocate({who, op, open_from, which});
    return answer<allocated>().value();
  }

  void store(const address& who, uint64_t op, const std::vector<block_key>& which) {
    auto got = allocate_for(who, op, which);
    core.on_arrived({got.immediate});
    core.on_commit({who, op, 0, 1});
    CHECK_EQ(answer<committed>()->op, op);
  }

  uint32_t free_slots() const {
    return core.index().pool().count(slot_state::free);
  }

  shard_core core;
};

} // namespace

TEST_CASE("shard_core: blocks are visible once committed and arrived, in whichever order") {
  for (bool arrives_first : {false, true}) {
    auto it = fixture{4};
    auto got = it.allocate_for(client_a, 1, keys(1, 2));
    CHECK_EQ(got.slots.size(), 2);
    CHECK_EQ(lane_of(got.immediate), lane);
    CHECK_EQ(got.region.key, 77);
    if (arrives_first)
      it.core.on_arrived({got.immediate});
    else
      it.core.on_commit({client_a, 1, 1, 1});
    CHECK_FALSE(it.answer<committed>().has_value());
    CHECK_FALSE(it.core.index().find({1, 1}).has_value());
    if (arrives_first)
      it.core.on_commit({client_a, 1, 1, 1});
    else
      it.core.on_arrived({got.immediate});
    CHECK(it.answer<committed>().has_value());
    CHECK(it.core.index().find({1, 1}) == got.slots[0]);
    it.core.on_commit({client_a, 1, 1, 1});
    CHECK(it.answer<committed>().has_value());
  }
}

TEST_CASE("shard_core: all announced pieces must have arrived") {
  auto it = fixture{4};
  auto got = it.allocate_for(client_a, 1, keys(1, 2));
  it.core.on_commit({client_a, 1, 1, 2});
  it.core.on_arrived({got.immediate});
  CHECK_FALSE(it.answer<committed>().has_value());
  it.core.on_arrived({got.immediate});
  CHECK(it.answer<committed>().has_value());
}

TEST_CASE("shard_core: a lease gets the longest prefix, the same each time, and pins it until released") {
  auto it = fixture{3};
  it.store(client_a, 1, keys(1, 2));
  for (int i = 0; i < 2; ++i) {
    it.core.on_lease({client_b, 1, 1, keys(1, 3)});
    CHECK_EQ(it.answer<leased>()->slots.size(), 2);
  }
  CHECK_EQ(it.core.counters().missed_blocks, 1);
  // Only one of the three slots is not pinned.
  CHECK(it.allocate_for(client_a, 2, keys(11, 12)).slots[1] == no_slot);
  it.core.on_release({client_a, 2, 2, false});
  CHECK(it.answer<released>().has_value());
  it.core.on_release({client_b, 1, 1, false});
  CHECK(it.answer<released>().has_value());
  CHECK(it.allocate_for(client_a, 3, keys(11, 12)).slots[1] != no_slot);
  it.core.on_lease({client_b, 1, 1, keys(1, 3)});
  CHECK_FALSE(it.answer<leased>().has_value());
}

TEST_CASE("shard_core: blocks that are here or being written get no slot") {
  auto it = fixture{8};
  it.store(client_a, 1, keys(1, 2));
  auto first = it.allocate_for(client_a, 2, keys(1, 3));
  CHECK(std::vector<bool>{first.slots[0] == no_slot, first.slots[1] == no_slot, first.slots[2] == no_slot}
        == std::vector<bool>{true, true, false});
  CHECK_EQ(it.allocate_for(client_b, 1, keys(3, 3)).slots[0], no_slot);
  it.core.on_commit({client_b, 1, 1, 0});
  CHECK(it.answer<committed>().has_value());
}

TEST_CASE("shard_core: leaves are evicted before their parents, and what an allocation builds on stays") {
  auto it = fixture{4};
  it.store(client_a, 1, keys(1, 4));
  CHECK(it.allocate_for(client_a, 2, keys(11, 12)).slots[1] != no_slot);
  CHECK(it.core.index().find({2, 2}).has_value());
  CHECK_FALSE(it.core.index().find({3, 3}).has_value());
  // 1 and 2 are what 1..5 builds on; there is no room beside them and the allocation before.
  auto got = it.allocate_for(client_b, 1, {{1, 1}, {2, 2}, {5, 5}});
  CHECK(got.slots == std::vector<uint32_t>{no_slot, no_slot, no_slot});
  CHECK_EQ(it.core.index().size(), 2);
}

TEST_CASE("shard_core: what another node has read goes first once it cooled; what a neighbour read does not") {
  constexpr auto neighbour = address{role::store_client, 2, self.node, 14};
  for (bool copied : {true, false}) {
    auto limits = shard_limits{};
    limits.copies_cool = 25; // of 4 slots: one use of another block
    auto it = fixture{4, limits};
    it.core.peer_up(neighbour);
    it.store(client_a, 1, keys(1, 1));
    it.store(client_a, 2, keys(2, 2));
    auto reader = copied ? client_b : neighbour;
    it.core.on_lease({reader, 1, 1, keys(2, 2)});
    it.core.on_release({reader, 1, 1, false});
    CHECK(it.answer<released>().has_value());
    it.store(client_a, 3, keys(3, 4));
    it.store(client_a, 4, keys(5, 5));
    CHECK_EQ(it.core.index().find({2, 2}).has_value(), !copied);
    CHECK_EQ(it.core.index().find({1, 1}).has_value(), copied);
  }
}

TEST_CASE("shard_core: a successor that was stored alone keeps its prefix, and reads of it count") {
  auto limits = shard_limits{};
  limits.rule = eviction::lfu;
  auto it = fixture{3, limits};
  it.store(client_a, 1, keys(1, 1));
  it.store(client_a, 2, keys(1, 2)); // 1 is named so that the shard knows where 2 belongs
  it.core.on_lease({client_b, 1, 1, keys(2, 2)});
  it.core.on_release({client_b, 1, 1, false});
  CHECK(it.answer<released>().has_value());
  it.store(client_a, 3, keys(11, 11));
  // Of 1, 2 and 11 only 2 was read; but 1 comes before it.
  it.store(client_a, 4, keys(12, 12));
  CHECK_FALSE(it.core.index().find({11, 11}).has_value());
  CHECK(it.core.index().find({1, 1}).has_value());
  CHECK(it.core.index().find({2, 2}).has_value());
}

TEST_CASE("shard_core: a released allocation is free at once, one that may still be written only after a fence") {
  auto it = fixture{2};
  it.allocate_for(client_a, 1, keys(1, 2));
  it.core.on_release({client_a, 1, 1, false});
  CHECK(it.answer<released>().has_value());
  CHECK_EQ(it.free_slots(), 2);
  CHECK(it.core.take_fences().empty());

  auto got = it.allocate_for(client_a, 2, keys(1, 2));
  for (int i = 0; i < 2; ++i) {
    it.core.on_release({client_a, 2, 2, true});
    CHECK(it.answer<released>().has_value());
  }
  CHECK_EQ(it.free_slots(), 0);
  auto fences = it.core.take_fences();
  REQUIRE_EQ(fences.size(), 1);
  CHECK(fences[0].peer == client_a);
  it.core.on_fenced({fences[0].id});
  it.core.on_fenced({fences[0].id});
  CHECK_EQ(it.free_slots(), 2);
  // What arrives for it now is nobody's.
  it.core.on_arrived({got.immediate});
  auto next = it.allocate_for(client_a, 3, keys(1, 1));
  CHECK_NE(next.immediate, got.immediate);
  it.core.on_arrived({got.immediate});
  it.core.on_commit({client_a, 3, 3, 1});
  CHECK_FALSE(it.answer<committed>().has_value());
  CHECK_EQ(it.core.counters().stray_arrivals, 2);
}

TEST_CASE("shard_core: what arrives late for a number that is used again counts for nobody") {
  auto it = fixture{1};
  auto old = it.allocate_for(client_a, 1, keys(1, 1));
  it.core.on_release({client_a, 1, 1, false});
  it.answer<released>();
  auto got = it.allocate_for(client_a, 2, keys(2, 2));
  CHECK_NE(got.immediate, old.immediate);
  it.core.on_commit({client_a, 2, 2, 1});
  it.core.on_arrived({old.immediate});
  CHECK_FALSE(it.answer<committed>().has_value());
  CHECK_EQ(it.core.counters().stray_arrivals, 1);
  it.core.on_arrived({got.immediate});
  CHECK(it.answer<committed>().has_value());
}

TEST_CASE("shard_core: a client that dies ends its leases; its allocations wait for the fence") {
  auto it = fixture{4};
  it.store(client_a, 1, keys(1, 2));
  it.core.on_lease({client_b, 1, 1, keys(1, 2)});
  it.allocate_for(client_b, 2, keys(3, 4));
  it.core.peer_down(client_b);
  CHECK(it.core.check());
  CHECK_EQ(it.core.index().pool().count(slot_state::transfer), 2);
  // Another client may write the same blocks into other slots, here those that the lease had pinned.
  CHECK(it.allocate_for(client_a, 2, keys(3, 4)).slots[1] != no_slot);
  auto fences = it.core.take_fences();
  REQUIRE_EQ(fences.size(), 1);
  it.core.on_fenced({fences[0].id});
  CHECK_EQ(it.free_slots(), 2);
  it.core.on_lease({client_b, 3, 1, keys(1, 1)});
  it.core.on_release({client_b, 2, 1, false});
  CHECK(it.core.take_output().empty());
}

TEST_CASE("shard_core: operations below open_from are forgotten; what was open of them ends, writes by a fence") {
  auto it = fixture{4};
  it.store(client_a, 1, keys(1, 2));
  it.core.on_lease({client_a, 2, 1, keys(1, 2)});
  it.allocate_for(client_a, 3, keys(3, 4));
  it.core.on_lease({client_a, 9, 9, keys(1, 1)});
  CHECK_EQ(it.core.index().pool().refs(it.core.index().find({1, 1}).value()), 2);
  CHECK_EQ(it.core.take_fences().size(), 1);
  it.core.take_output();
  it.core.on_lease({client_a, 2, 1, keys(1, 2)});
  it.core.on_allocate({client_a, 3, 1, keys(3, 4)});
  it.core.on_commit({client_a, 3, 1, 1});
  CHECK(it.core.take_output().empty());
  CHECK(it.core.check());
  it.core.on_release({client_a, 3, 1, false});
  CHECK(it.answer<released>().has_value());
}

TEST_CASE("shard_core: a release overtakes the request it ends") {
  auto it = fixture{2};
  it.core.on_release({client_a, 4, 4, false});
  CHECK(it.answer<released>().has_value());
  it.core.on_allocate({client_a, 4, 4, keys(1, 2)});
  CHECK_FALSE(it.answer<allocated>().has_value());
  CHECK_EQ(it.free_slots(), 2);
}

TEST_CASE("shard_core: a client with too many operations gets empty answers") {
  auto it = fixture{4, {.ops_max = 1, .feed = {}}};
  it.store(client_a, 1, keys(1, 1));
  it.core.on_lease({client_a, 2, 1, keys(1, 1)});
  CHECK(it.answer<leased>()->slots.empty());
  CHECK(it.allocate_for(client_a, 3, keys(2, 2)).slots == std::vector<uint32_t>{no_slot});
  it.core.on_lease({client_a, 4, 4, keys(1, 1)});
  CHECK_EQ(it.answer<leased>()->slots.size(), 1);
}

TEST_CASE(
  "shard_core: the Conductor of the highest term gets a full report at once, then at intervals, and the events") {
  auto it = fixture{4};
  it.store(client_a, 1, keys(1, 1));
  it.core.pump(0);
  CHECK(it.core.take_output().empty());
  it.core.on_conductor({conductor, 2}, 10);
  auto first = it.answer<report>().value();
  CHECK_EQ(first.term, 2);
  CHECK(first.full);
  CHECK_EQ(first.slots_total, 4);
  CHECK_EQ(first.slots_free, 3);
  it.core.on_conductor({conductor, 1}, 10);
  CHECK(it.core.take_output().empty());
  it.core.pump(10);
  auto events = it.answer<index_events>().value();
  CHECK_EQ(events.events.size(), 1);
  it.core.on_index_ack({conductor, 2, events.epoch, 1, false});
  it.core.on_report_ack({conductor, 2, first.sequence});
  it.core.pump(1009);
  CHECK(it.core.take_output().empty());
  it.core.pump(1010);
  auto second = it.answer<report>().value();
  CHECK_EQ(second.sequence, first.sequence + 1);
  CHECK_FALSE(second.full);
  it.core.on_conductor({conductor, 3}, 1010);
  CHECK(it.answer<report>()->full);
  it.core.pump(1010);
  CHECK_EQ(it.answer<index_events>()->sequence, 0);
}

TEST_CASE("shard_core: under random use, slots are accounted for and none is free while it may be written") {
  auto evicted = uint64_t{0};
  auto abandoned = uint64_t{0};
  for (uint64_t seed = 1; seed <= testing::seeds(100); ++seed) {
    CAPTURE(seed);
    auto rng = std::mt19937_64{seed};
    auto it =
      fixture{static_cast<uint32_t>(4 + rng() % 12), {.ops_max = 20, .feed = {.batch_max = 4, .pending_max = 20}}};
    auto& core = it.core;
    struct writer {
      uint32_t incarnation = 1;
      uint64_t ops = 0;
      std::map<uint64_t, uint32_t> open; // allocations answered and not ended, with their immediates
    };
    auto clients = std::map<uint32_t, writer>{};
    auto danger = std::set<uint32_t>{}; // slots that a write may land in
    auto by_op = std::map<std::pair<address, uint64_t>, std::set<uint32_t>>{};
    auto by_fence = std::map<uint64_t, std::set<uint32_t>>{}; // fence: what it makes safe
    auto address_of = [&](uint32_t index) {
      return address{role::store_client, index, index, clients[index].incarnation};
    };
    for (uint32_t index = 0; index < 3; ++index)
      core.peer_up(address_of(index));
    auto chain = [&] {
      // One of a few prefixes that share their beginnings.
      auto out = keys(1, 1 + rng() % 4);
      for (auto n = rng() % 5; n > 0; --n)
        out.push_back({100 + rng() % 3, out.size()});
      return out;
    };
    for (int step = 0; step < 300; ++step) {
      auto index = static_cast<uint32_t>(rng() % 3);
      auto& client = clients[index];
      auto who = address_of(index);
      auto op = client.ops - std::min<uint64_t>(client.ops, rng() % 6); // old ones too: duplicates
      auto open_from = client.open.empty() ? (client.ops > 8 ? client.ops - 8 : 0) : client.open.begin()->first;
      auto safe = [&](uint64_t which) {
        for (auto slot : by_op[{who, which}])
          danger.erase(slot);
        by_op.erase({who, which});
      };
      switch (rng() % 12) {
      case 0:
      case 1: core.on_lease({who, ++client.ops, open_from, chain()}); break;
      case 2:
      case 3:
      case 4: core.on_allocate({who, ++client.ops, open_from, chain()}); break;
      case 5: core.on_commit({who, op, open_from, 1}); break;
      case 6:
      case 7:
        if (!client.open.empty())
          core.on_arrived({client.open.begin()->second});
        break;
      case 8:
        // A clean release is a promise, so it is given only where nothing was written.
        client.open.erase(op);
        safe(op);
        core.on_release({who, op, open_from, false});
        break;
      case 9:
        client.open.erase(op);
        core.on_release({who, op, open_from, true});
        break;
      case 10:
        if (rng() % 4 == 0) {
          core.peer_down(who);
          ++client.incarnation;
          client.open.clear();
          client.ops = 0;
          core.peer_up(address_of(index));
        }
        break;
      case 11:
        if (!by_fence.empty()) {
          for (auto slot : by_fence.begin()->second)
            danger.erase(slot);
          core.on_fenced({by_fence.begin()->first});
          by_fence.erase(by_fence.begin());
        }
        break;
      }
      core.pump(static_cast<uint64_t>(step));
      for (const auto& fence : core.take_fences()) {
        // A fence makes everything safe that this client wrote into allocations which are over.
        auto& slots = by_fence[fence.id];
        for (auto at = by_op.begin(); at != by_op.end();)
          if (at->first.first == fence.peer && !clients[fence.peer.index].open.contains(at->first.second)) {
            slots.merge(at->second);
            at = by_op.erase(at);
          } else {
            ++at;
          }
      }
      for (auto& out : core.take_output()) {
        if (auto* got = std::get_if<allocated>(&out.message)) {
          auto& writes = by_op[{out.to, got->op}];
          for (auto slot : got->slots)
            if (slot != no_slot) {
              writes.insert(slot);
              danger.insert(slot);
            }
          clients[out.to.index].open[got->op] = got->immediate;
        } else if (auto* done = std::get_if<committed>(&out.message)) {
          for (auto slot : by_op[{out.to, done->op}])
            danger.erase(slot);
          by_op.erase({out.to, done->op});
          clients[out.to.index].open.erase(done->op);
        }
      }
      REQUIRE(core.check());
      for (auto slot : danger)
        REQUIRE(core.index().pool().state(slot) == slot_state::transfer);
    }
    evicted += core.counters().evicted;
    abandoned += core.counters().abandoned_slots;
  }
  CHECK_GT(evicted, 0);
  CHECK_GT(abandoned, 0);
}

TEST_CASE("shard_core: lent blocks are not evicted before they are returned, once for every loan") {
  auto it = fixture{4};
  it.store(client_a, 1, keys(1, 2));
  it.core.on_borrow({client_a, 7, keys(1, 3)});
  auto got = it.answer<lent_blocks>().value();
  CHECK_EQ(got.id, 7);
  REQUIRE_EQ(got.slots.size(), 2);
  CHECK_FALSE(got.full);
  CHECK(it.core.index().find({1, 1}) == got.slots[0]);
  it.core.on_borrow({client_b, 7, keys(1, 1)});
  CHECK(it.answer<lent_blocks>()->slots == std::vector<uint32_t>{got.slots[0]});
  CHECK_EQ(it.core.counters().lent_blocks, 3);
  CHECK_EQ(it.core.counters().missed_blocks, 1);
  auto asked = it.allocate_for(client_b, 1, keys(11, 13));
  CHECK_EQ(std::count(asked.slots.begin(), asked.slots.end(), no_slot), 1); // Two were free.
  it.core.on_release({client_b, 1, 0, false});
  it.answer<released>();
  it.core.on_return({client_a, 7});
  it.core.on_return({client_a, 7});
  asked = it.allocate_for(client_b, 2, keys(11, 14));
  CHECK_EQ(std::count(asked.slots.begin(), asked.slots.end(), no_slot), 1); // The first is still lent.
  it.core.on_return({client_b, 7});
  CHECK_EQ(it.core.index().pool().refs(got.slots[0]), 1);
  CHECK(it.core.check());
}

TEST_CASE("shard_core: at most half of the slots are lent, however often each") {
  auto it = fixture{6};
  it.store(client_a, 1, keys(1, 5));
  it.core.on_borrow({client_a, 1, keys(1, 5)});
  auto got = it.answer<lent_blocks>().value();
  CHECK_EQ(got.slots.size(), 3);
  CHECK(got.full);
  CHECK_EQ(it.core.counters().missed_blocks, 0); // The rest will be leased.
  it.core.on_borrow({client_b, 1, keys(1, 5)});
  CHECK(it.answer<lent_blocks>()->slots == got.slots);
  it.core.on_borrow({client_b, 2, keys(4, 5)});
  auto none = it.answer<lent_blocks>().value();
  CHECK(none.slots.empty());
  CHECK(none.full);
  it.core.on_return({client_a, 1});
  it.core.on_return({client_b, 1});
  it.core.on_borrow({client_b, 2, keys(4, 5)});
  CHECK_EQ(it.answer<lent_blocks>()->slots.size(), 2);
}

TEST_CASE("shard_core: what was lent to a client that died is free again") {
  auto it = fixture{4};
  it.store(client_a, 1, keys(1, 2));
  it.core.on_borrow({client_a, 3, keys(1, 1)});
  it.core.on_borrow({client_a, 3, keys(2, 2)}); // Added to the same loan.
  it.core.on_borrow({client_b, 3, keys(1, 1)});
  it.core.take_output();
  auto slot = it.core.index().find({1, 1}).value();
  CHECK_EQ(it.core.index().pool().refs(slot), 3);
  it.core.peer_down(client_a);
  CHECK_EQ(it.core.index().pool().refs(slot), 2);
  CHECK(it.core.check());
  it.core.on_borrow({client_a, 4, keys(1, 1)});
  CHECK_FALSE(it.answer<lent_blocks>().has_value());
  it.core.on_return({client_b, 3});
  CHECK_EQ(it.core.index().pool().refs(slot), 1);
}
