// SPDX-License-Identifier: Apache-2.0
#include "actors/cache/shard_core.hpp"
#include "actors/cache/store_core.hpp"
#include "tests/actors/protocol/conductor_script.hpp"
#include "tests/actors/protocol/protocol_row.hpp"

using namespace perigee;
using namespace perigee::testing;

namespace {

constexpr auto the_client = address{role::store_client, 0, 2, 60};
constexpr store_owner owner = 1;

std::vector<block_key> some_keys(uint64_t count) {
  auto keys = std::vector<block_key>{};
  for (auto n = uint64_t{1}; n <= count; ++n)
    keys.push_back({n, n});
  return keys;
}

/// A store client of which one fetch and one publish of two blocks each may be asked.
struct client_script {
  explicit client_script(std::optional<lent_pool> lent = {})
    : core({the_client, 2, 64, std::nullopt, retry, 10'000 * ms, 4, 4, 16, lent}) {
    core.peer_up(far_shard, now);
  }

  /// Its operation at the shard starts.
  template <class Request>
  Request begin() {
    if constexpr (std::is_same_v<Request, lease>)
      core.start(owner, fetch{1, some_keys(2), {5, 6}, {{far_shard, 2}}, 1'000 * ms}, now);
    else
      core.start(owner, publish{1, some_keys(2), {5, 6}}, now);
    return take<Request>().at(0);
  }

  template <class Message>
  std::vector<Message> take() {
    auto found = std::vector<Message>{};
    for (auto& item : core.take_output())
      std::visit([&](auto& what) { collect(what, found); }, item.what);
    REQUIRE(core.check());
    return found;
  }

  template <class Output, class Message>
  static void collect(const Output& what, std::vector<Message>& into) {
    if constexpr (std::is_same_v<Output, Message>)
      into.push_back(what);
    else if constexpr (requires { what.message; })
      std::visit([&](const auto& message) { collect(message, into); }, what.message);
  }

  template <class Message>
  bool says_again() {
    for (auto i = 0; i < 3; ++i) {
      tick();
      if (take<Message>().size() != 1)
        return false;
    }
    return true;
  }

  template <class Message>
  bool says_no_more() {
    take<Message>();
    tick();
    return take<Message>().empty();
  }

  void tick(uint64_t span_ns = retry) {
    now += span_ns;
    core.tick(now);
  }

  /// A publish up to its commit; returns the operation.
  uint64_t write() {
    auto op = begin<allocate>().op;
    core.on_allocated({far_shard, op, {9, 0, 4096}, {3, 4}, 77}, now);
    core.on_moved({take<move_blocks>().at(0).id, {}, 128}, now);
    return op;
  }

  uint64_t now = 1000 * ms;
  store_core core;
};

/// A shard of four slots with that client.
struct shard_script {
  shard_script() : core(far_shard, {9, 0, 256}, 4, retry, 100 * ms) {
    core.set_lane(3);
    core.peer_up(the_client);
  }

  template <class Message>
  std::vector<Message> take() {
    auto found = std::vector<Message>{};
    for (auto& item : core.take_output())
      if (auto* match = std::get_if<Message>(&item.message))
        found.push_back(*match);
    REQUIRE(core.check());
    return found;
  }

  /// Two blocks are written and committed by operation `op`.
  void store(uint64_t op) {
    core.on_allocate({the_client, op, 0, some_keys(2)});
    core.on_arrived({take<allocated>().at(0).immediate});
    core.on_commit({the_client, op, 0, 1});
    CHECK_EQ(take<committed>().size(), 1);
  }

  uint32_t slots(slot_state state) const {
    return core.index().pool().count(state);
  }

  shard_core core;
};

} // namespace

PROTOCOL_ROW("lease") {
  auto it = client_script{};
  auto asked = it.begin<lease>();
  CHECK(it.says_again<lease>());
  auto answered = client_script{};
  answered.begin<lease>();
  answered.core.on_leased({far_shard, asked.op, {9, 0, 4096}, {3, 4}}, answered.now);
  CHECK_EQ(answered.take<move_blocks>().size(), 1);
  CHECK(answered.says_no_more<lease>());
  it.tick(1'000 * ms); // The fetch's deadline.
  CHECK_EQ(it.take<fetched>().at(0).blocks, 0);
  auto bereaved = client_script{};
  bereaved.begin<lease>();
  bereaved.core.peer_down(far_shard, bereaved.now);
  CHECK_EQ(bereaved.take<fetched>().at(0).blocks, 0);

  auto shard = shard_script{};
  shard.store(1);
  for (auto i = 0; i < 2; ++i)
    shard.core.on_lease({the_client, 2, 2, some_keys(3)});
  auto answers = shard.take<leased>();
  REQUIRE_EQ(answers.size(), 2);
  CHECK(answers[0].slots == answers[1].slots);
  CHECK_EQ(answers[0].slots.size(), 2);
  CHECK_EQ(shard.core.counters().leased_blocks, 2);
}

PROTOCOL_ROW("leased") {
  auto it = client_script{};
  auto asked = it.begin<lease>();
  for (auto i = 0; i < 2; ++i)
    it.core.on_leased({far_shard, asked.op, {9, 0, 4096}, {3, 4}}, it.now);
  CHECK_EQ(it.take<move_blocks>().size(), 1);
  auto shard = shard_script{};
  shard.store(1);
  shard.core.on_lease({the_client, 2, 2, some_keys(2)});
  auto slot = shard.take<leased>().at(0).slots.at(0);
  CHECK_EQ(shard.core.index().pool().refs(slot), 2);
  shard.core.peer_down(the_client); // Its leases end.
  CHECK_EQ(shard.core.index().pool().refs(slot), 1);
  shard.take<leased>();
}

PROTOCOL_ROW("allocate") {
  auto it = client_script{};
  it.begin<allocate>();
  CHECK(it.says_again<allocate>());
  it.tick(10'000 * ms);
  CHECK_EQ(it.take<published>().at(0).stored, 0); // Given up.
  auto bereaved = client_script{};
  bereaved.begin<allocate>();
  bereaved.core.peer_down(far_shard, bereaved.now);
  CHECK_EQ(bereaved.take<published>().at(0).stored, 0);
  auto shard = shard_script{};
  for (auto i = 0; i < 2; ++i)
    shard.core.on_allocate({the_client, 1, 1, some_keys(2)});
  auto answers = shard.take<allocated>();
  REQUIRE_EQ(answers.size(), 2);
  CHECK(answers[0].slots == answers[1].slots);
  CHECK_EQ(answers[0].immediate, answers[1].immediate);
  CHECK_EQ(shard.slots(slot_state::transfer), 2);
}

PROTOCOL_ROW("allocated") {
  auto it = client_script{};
  auto asked = it.begin<allocate>();
  for (auto i = 0; i < 2; ++i)
    it.core.on_allocated({far_shard, asked.op, {9, 0, 4096}, {3, 4}, 77}, it.now);
  CHECK_EQ(it.take<move_blocks>().size(), 1);
  CHECK(it.says_no_more<allocate>());
  auto shard = shard_script{};
  shard.core.on_allocate({the_client, 1, 1, some_keys(2)});
  shard.core.peer_down(the_client);
  CHECK_EQ(shard.slots(slot_state::transfer), 2);
  shard.core.on_fenced({shard.core.take_fences().at(0).id});
  CHECK_EQ(shard.slots(slot_state::free), 4);
  shard.take<allocated>();
}

PROTOCOL_ROW("commit") {
  auto it = client_script{};
  auto op = it.write();
  CHECK_EQ(it.take<commit>().at(0).op, op);
  CHECK(it.says_again<commit>());
  it.core.on_committed({far_shard, op}, it.now);
  CHECK_EQ(it.take<published>().at(0).stored, 2);
  CHECK(it.says_no_more<commit>());
  auto bereaved = client_script{};
  bereaved.write();
  bereaved.core.peer_down(far_shard, bereaved.now);
  CHECK_EQ(bereaved.take<published>().at(0).stored, 0);
  auto shard = shard_script{};
  shard.core.on_allocate({the_client, 1, 1, some_keys(2)});
  auto where = shard.take<allocated>().at(0);
  for (auto i = 0; i < 2; ++i)
    shard.core.on_commit({the_client, 1, 1, 1});
  CHECK(shard.take<committed>().empty());
  shard.core.on_arrived({where.immediate});
  shard.core.on_commit({the_client, 1, 1, 1});
  CHECK_EQ(shard.take<committed>().size(), 2);
  CHECK_EQ(shard.core.counters().stored, 2);
}

PROTOCOL_ROW("committed") {
  auto it = client_script{};
  auto op = it.write();
  for (auto i = 0; i < 2; ++i)
    it.core.on_committed({far_shard, op}, it.now);
  CHECK_EQ(it.take<published>().size(), 1);
  auto unheard = client_script{}; // It may be visible or not: the slots are fenced before the shard has them back.
  unheard.write();
  unheard.tick(10'000 * ms);
  auto given_up = unheard.take<release>();
  REQUIRE_EQ(given_up.size(), 1);
  CHECK(given_up[0].fence);
}

PROTOCOL_ROW("release") {
  auto it = client_script{};
  auto asked = it.begin<lease>();
  it.core.on_leased({far_shard, asked.op, {9, 0, 4096}, {}}, it.now);
  CHECK_EQ(it.take<release>().at(0).op, asked.op);
  CHECK(it.says_again<release>());
  it.core.on_released({far_shard, asked.op}, it.now);
  CHECK(it.says_no_more<release>());
  auto shard = shard_script{};
  shard.store(1);
  shard.core.on_lease({the_client, 2, 2, some_keys(2)});
  auto slot = shard.take<leased>().at(0).slots.at(0);
  for (auto i = 0; i < 2; ++i)
    shard.core.on_release({the_client, 2, 2, false});
  CHECK_EQ(shard.take<released>().size(), 2);
  CHECK_EQ(shard.core.index().pool().refs(slot), 1);
  shard.core.on_lease({the_client, 2, 2, some_keys(2)}); // Was still on its way.
  CHECK(shard.take<leased>().empty());
}

PROTOCOL_ROW("released") {
  auto shard = shard_script{};
  shard.core.on_release({the_client, 9, 9, false}); // Of what it never heard.
  CHECK_EQ(shard.take<released>().at(0).op, 9);
  auto it = client_script{};
  auto asked = it.begin<lease>();
  it.core.on_leased({far_shard, asked.op, {9, 0, 4096}, {}}, it.now);
  for (auto i = 0; i < 2; ++i)
    it.core.on_released({far_shard, asked.op}, it.now);
  CHECK_EQ(it.core.open_ops(), 0);
  CHECK_EQ(it.take<fetched>().size(), 1);
}

namespace {

/// A store client whose instance can read the pool of the shard beside it, from slot 50 on.
constexpr auto shard_beside = address{role::shard, 3, the_client.node, 61};

struct borrowing_script : client_script {
  borrowing_script() : client_script(lent_pool{shard_beside.index, 50, 9}) {
    core.peer_up(shard_beside, now);
  }

  borrow begin_borrow() {
    auto ask = fetch{1, some_keys(2), {5, 6}, {{shard_beside, 2}}, 1'000 * ms};
    ask.lend = 2;
    core.start(owner, ask, now);
    return take<borrow>().at(0);
  }
};

} // namespace

PROTOCOL_ROW("borrow") {
  auto it = borrowing_script{};
  it.begin_borrow();
  CHECK(it.says_no_more<borrow>()); // It cannot be lost.
  it.tick(1'000 * ms);              // The fetch's deadline.
  CHECK_EQ(it.take<fetched>().at(0).blocks, 0);
  auto bereaved = borrowing_script{};
  bereaved.begin_borrow();
  bereaved.core.peer_down(shard_beside, bereaved.now);
  CHECK_EQ(bereaved.take<fetched>().at(0).blocks, 0);
  auto shard = shard_script{};
  shard.store(1);
  for (auto i = 0; i < 2; ++i)
    shard.core.on_borrow({the_client, 2, some_keys(2)});
  auto answers = shard.take<lent_blocks>();
  REQUIRE_EQ(answers.size(), 2);
  CHECK(answers[0].slots == answers[1].slots);
  CHECK_EQ(shard.core.index().pool().refs(answers[0].slots.at(0)), 3); // Both are added up.
  shard.core.peer_down(the_client);
  CHECK_EQ(shard.core.index().pool().refs(answers[0].slots.at(0)), 1);
}

PROTOCOL_ROW("lent_blocks") {
  auto it = borrowing_script{};
  auto asked = it.begin_borrow();
  it.core.on_lent({shard_beside, asked.id, {3, 4}, false}, it.now);
  CHECK(it.take<fetched>().at(0).lent == std::vector<uint32_t>{53, 54});
  it.core.on_lent({shard_beside, asked.id, {3, 4}, false}, it.now);
  CHECK(it.core.take_output().empty());
}

PROTOCOL_ROW("return_blocks") {
  auto it = borrowing_script{};
  auto asked = it.begin_borrow();
  it.core.on_lent({shard_beside, asked.id, {3, 4}, false}, it.now);
  it.take<fetched>();
  it.core.give_back(owner, 1, it.now);
  CHECK_EQ(it.take<return_blocks>().at(0).id, asked.id);
  CHECK(it.says_no_more<return_blocks>());
  auto bereaved = borrowing_script{};
  asked = bereaved.begin_borrow();
  bereaved.core.on_lent({shard_beside, asked.id, {3, 4}, false}, bereaved.now);
  bereaved.core.peer_down(shard_beside, bereaved.now);
  bereaved.core.give_back(owner, 1, bereaved.now);
  CHECK(bereaved.take<return_blocks>().empty());
  auto shard = shard_script{};
  shard.store(1);
  shard.core.on_borrow({the_client, 2, some_keys(2)});
  auto slot = shard.take<lent_blocks>().at(0).slots.at(0);
  for (auto i = 0; i < 2; ++i)
    shard.core.on_return({the_client, 2});
  CHECK_EQ(shard.core.index().pool().refs(slot), 1);
}

PROTOCOL_ROW("index_events") {
  auto it = shard_script{};
  it.store(1);
  auto now = 1000 * ms;
  it.core.on_conductor({the_conductor, 5}, now);
  it.core.pump(now);
  auto first = it.take<index_events>();
  REQUIRE_EQ(first.size(), 1);
  CHECK_EQ(first[0].events.size(), 2);
  it.core.pump(now);
  CHECK(it.take<index_events>().empty()); // One batch at a time.
  for (auto i = 0; i < 3; ++i) {
    it.core.pump(now += retry);
    auto again = it.take<index_events>();
    REQUIRE_EQ(again.size(), 1);
    CHECK_EQ(again[0].sequence, 0);
  }
  it.core.on_index_ack({the_conductor, 5, first[0].epoch, 2, false});
  it.core.pump(now += retry);
  CHECK(it.take<index_events>().empty());
  it.core.on_conductor({next_conductor, 6}, now); // The other one died: everything from the beginning.
  it.core.pump(now);
  auto anew = it.take<index_events>();
  REQUIRE_EQ(anew.size(), 1);
  CHECK_EQ(anew[0].term, 6);
  CHECK_GT(anew[0].epoch, first[0].epoch);
  CHECK_EQ(anew[0].events.size(), 2);
}

PROTOCOL_ROW("index_ack") {
  auto conductor = conductor_script{};
  conductor.tell(peer_up{far_shard, {}});
  conductor.forget();
  auto news = index_events{far_shard, 5, 1, 0, {{{1, 1}, true}, {{2, 2}, true}}};
  for (auto i = 0; i < 2; ++i) {
    conductor.tell(news);
    CHECK_EQ(conductor.only<index_ack>(far_shard).next, 2);
  }
  CHECK(is_silent<index_ack>(conductor));
  CHECK_EQ(conductor.core.index().blocks_of(far_shard.index), 2);
  conductor.tell(peer_down{far_shard});
  CHECK_EQ(conductor.core.index().blocks_of(far_shard.index), 0);

  auto it = shard_script{};
  it.store(1);
  auto now = 1000 * ms;
  it.core.on_conductor({next_conductor, 6}, now);
  it.core.pump(now);
  auto batch = it.take<index_events>().at(0);
  it.core.on_index_ack({the_conductor, 5, batch.epoch, 2, false}); // Of the past.
  it.core.on_index_ack({next_conductor, 6, batch.epoch + 1, 2, false});
  it.core.pump(now += retry);
  CHECK_EQ(it.take<index_events>().size(), 1);
  for (auto i = 0; i < 2; ++i)
    it.core.on_index_ack({next_conductor, 6, batch.epoch, 2, false});
  it.core.pump(now += retry);
  CHECK(it.take<index_events>().empty());
}
