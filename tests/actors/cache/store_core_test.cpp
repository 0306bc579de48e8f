// SPDX-License-Identifier: Apache-2.0
#include "actors/cache/rendezvous.hpp"
#include "actors/cache/store_core.hpp"
#include "tests/support/testing.hpp"

#include <set>

using namespace perigee;

namespace {

constexpr auto self = address{role::store_client, 0, 1, 5};
constexpr uint64_t transfer_ns = 1000;
constexpr uint64_t retry_ns = 100;
constexpr store_owner owner = 3;
constexpr auto region = transport::remote_region{9, 0, 1 << 20};

address shard(uint32_t index, uint64_t incarnation = 1) {
  return {role::shard, index, index, incarnation};
}

std::vector<block_key> keys(uint64_t first, uint64_t last) {
  auto out = std::vector<block_key>{};
  for (auto n = first; n <= last; ++n)
    out.push_back({n, n});
  return out;
}

struct fixture {
  explicit fixture(uint32_t shards = 1, std::optional<uint32_t> local = std::nullopt, uint32_t jobs_max = 4,
                   std::optional<lent_pool> lent = {})
    : core({self, 2, 64, local, retry_ns, transfer_ns, jobs_max, 2, 16, lent}) {
    for (uint32_t index = 0; index < shards; ++index)
      core.peer_up(shard(index), now);
  }

  /// All messages of one kind since the last call; other kinds are dropped.
  template <class Message>
  std::vector<Message> all() {
    auto out = std::vector<Message>{};
    for (auto& it : core.take_output())
      std::visit([&](auto& what) { collect(what, out); }, it.what);
    REQUIRE(core.check());
    return out;
  }

  template <class Output, class Message>
  static void collect(const Output& what, std::vector<Message>& out) {
    if constexpr (std::is_same_v<Output, Message>)
      out.push_back(what);
    else if constexpr (requires { what.message; })
      std::visit([&](const auto& message) { collect(message, out); }, what.message);
  }

  template <class Message>
  Message one() {
    auto out = all<Message>();
    REQUIRE_EQ(out.size(), 1);
    return out.front();
  }

  fetch job(uint64_t id, uint32_t blocks, std::vector<prefix_segment> plan) {
    auto slots = std::vector<uint32_t>{};
    for (uint32_t slot = 0; slot < blocks; ++slot)
      slots.push_back(10 + slot);
    return {id, keys(1, blocks), slots, std::move(plan), 500};
  }

  /// The same, of which the first `lend` may be lent.
  fetch lending_job(uint64_t id, uint32_t blocks, uint32_t lend, std::vector<prefix_segment> plan) {
    auto made = job(id, blocks, std::move(plan));
    made.lend = lend;
    return made;
  }

  /// Up to the point where the blocks are being read.
  move_blocks read_from(uint32_t at, std::vector<uint32_t> slots) {
    auto asked = one<lease>();
    core.on_leased({shard(at), asked.op, region, std::move(slots)}, now);
    return one<move_blocks>();
  }

  /// Up to the point where the blocks are being written.
  move_blocks write_to(uint32_t at, std::vector<uint32_t> slots) {
    auto asked = one<allocate>();
    core.on_allocated({shard(at), asked.op, region, std::move(slots), 77}, now);
    return one<move_blocks>();
  }

  uint64_t now = 10'000;
  store_core core;
};

} // namespace

TEST_CASE("store_core: a fetch leases, reads and releases at each shard of its plan in order") {
  auto it = fixture{2};
  it.core.start(owner, it.job(1, 3, {{shard(0), 2}, {shard(1), 1}}), it.now);
  auto move = it.read_from(0, {4, 5});
  CHECK(move.peer == shard(0));
  CHECK(move.op == transport::direction::read);
  CHECK_EQ(move.local, 2);
  CHECK_EQ(move.remote.key, 9);
  CHECK_EQ(move.deadline_ns, 500);
  REQUIRE_EQ(move.pieces.size(), 2);
  CHECK_EQ(move.pieces[1].local_offset, 11 * 64);
  CHECK_EQ(move.pieces[1].remote_offset, 5 * 64);
  CHECK_EQ(move.pieces[1].bytes, 64);
  it.core.on_moved({move.id, {}, 128}, it.now);
  auto out = it.core.take_output();
  REQUIRE_EQ(out.size(), 2);
  auto first = std::get<release>(std::get<store_output::to_shard>(out[0].what).message);
  CHECK_FALSE(first.fence);
  auto second = std::get<lease>(std::get<store_output::to_shard>(out[1].what).message);
  CHECK(second.keys == keys(3, 3));
  it.core.on_leased({shard(1), second.op, region, {7}}, it.now);
  move = it.one<move_blocks>();
  CHECK_EQ(move.pieces[0].local_offset, 12 * 64);
  it.core.on_moved({move.id, {}, 64}, it.now);
  auto done = it.one<fetched>();
  CHECK_EQ(done.blocks, 3);
  CHECK_EQ(done.bytes, 192);
  CHECK_EQ(it.core.open_ops(), 2);
  it.core.on_released({shard(0), first.op}, it.now);
  it.core.on_released({shard(1), second.op}, it.now);
  CHECK_EQ(it.core.open_ops(), 0);
}

TEST_CASE("store_core: a fetch may read a part of each block") {
  auto it = fixture{1};
  auto part = it.job(1, 2, {{shard(0), 2}});
  part.offset = 16;
  part.bytes = 24;
  it.core.start(owner, part, it.now);
  auto move = it.read_from(0, {4, 5});
  REQUIRE_EQ(move.pieces.size(), 2);
  CHECK_EQ(move.pieces[1].local_offset, 11 * 64 + 16);
  CHECK_EQ(move.pieces[1].remote_offset, 5 * 64 + 16);
  CHECK_EQ(move.pieces[1].bytes, 24);
}

TEST_CASE("store_core: a fetch ends at the first gap with what it has") {
  auto it = fixture{2};
  it.core.start(owner, it.job(1, 3, {{shard(0), 2}, {shard(1), 1}}), it.now);
  auto move = it.read_from(0, {4});
  it.core.on_moved({move.id, {}, 64}, it.now);
  CHECK_EQ(it.one<fetched>().blocks, 1);
  it.core.start(owner, it.job(2, 3, {{shard(1), 3}}), it.now);
  it.core.on_leased({shard(1), it.one<lease>().op, region, {}}, it.now);
  CHECK_EQ(it.one<fetched>().blocks, 0);
  it.core.start(owner, it.job(3, 3, {{shard(5), 3}}), it.now);
  CHECK_EQ(it.one<fetched>().blocks, 0);
  it.core.start(owner, it.job(4, 3, {}), it.now);
  CHECK_EQ(it.one<fetched>().blocks, 0);
}

TEST_CASE("store_core: a read that fails counts for nothing") {
  auto it = fixture{};
  it.core.start(owner, it.job(1, 2, {{shard(0), 2}}), it.now);
  auto move = it.read_from(0, {4, 5});
  it.core.on_moved({move.id, {errc::peer_lost, ""}, 0}, it.now);
  CHECK_EQ(it.one<fetched>().blocks, 0);
  it.core.on_moved({move.id, {}, 0}, it.now);
  CHECK(it.all<fetched>().empty());
}

TEST_CASE("store_core: requests are repeated until answered, and late or foreign answers change nothing") {
  auto it = fixture{2};
  it.core.start(owner, it.job(1, 1, {{shard(0), 1}}), it.now);
  auto asked = it.one<lease>();
  it.now += retry_ns;
  it.core.tick(it.now);
  CHECK_EQ(it.one<lease>().op, asked.op);
  it.core.on_leased({shard(1), asked.op, region, {1}}, it.now);
  it.core.on_leased({shard(0, 2), asked.op, region, {1}}, it.now);
  it.core.on_released({shard(0), asked.op}, it.now);
  it.core.on_committed({shard(0), asked.op}, it.now);
  CHECK(it.all<move_blocks>().empty());
  it.core.on_leased({shard(0), asked.op, region, {1}}, it.now);
  it.core.on_leased({shard(0), asked.op, region, {1}}, it.now);
  auto move = it.one<move_blocks>();
  it.core.on_moved({move.id, {}, 64}, it.now);
  CHECK_EQ(it.one<fetched>().blocks, 1);
  for (int i = 0; i < 3; ++i) {
    it.now += retry_ns;
    it.core.tick(it.now);
    CHECK_EQ(it.one<release>().op, asked.op);
  }
}

TEST_CASE("store_core: at its deadline or when cancelled a fetch waits only for its read to end") {
  for (bool by_deadline : {false, true}) {
    auto it = fixture{};
    auto stop = [&](uint64_t id) {
      if (by_deadline)
        it.core.tick(it.now += 500);
      else
        it.core.cancel(owner, id, it.now);
    };
    it.core.start(owner, it.job(1, 1, {{shard(0), 1}}), it.now);
    it.one<lease>();
    stop(1);
    CHECK_EQ(it.one<fetched>().blocks, 0);
    it.core.start(owner, it.job(2, 1, {{shard(0), 1}}), it.now);
    auto move = it.read_from(0, {4});
    stop(2);
    CHECK_EQ(it.one<cancel_move>().id, move.id);
    stop(2);
    CHECK(it.all<fetched>().empty());
    it.core.on_moved({move.id, {errc::cancelled, ""}, 0}, it.now);
    CHECK_EQ(it.one<fetched>().blocks, 0);
  }
}

TEST_CASE("store_core: a shard that dies ends what waits for it") {
  auto it = fixture{};
  it.core.start(owner, it.job(1, 1, {{shard(0), 1}}), it.now);
  it.core.start(owner, publish{2, keys(1, 1), {3}}, it.now);
  it.core.take_output();
  it.core.start(owner, it.job(3, 1, {{shard(0), 1}}), it.now);
  auto move = it.read_from(0, {4});
  it.core.peer_down(shard(0), it.now);
  auto out = it.core.take_output();
  CHECK_EQ(out.size(), 3); // one fetched, one published, one cancelled read
  it.core.on_moved({move.id, {errc::peer_lost, ""}, 0}, it.now);
  CHECK_EQ(it.one<fetched>().id, 3);
  CHECK_EQ(it.core.open_ops(), 0);
  it.core.start(owner, publish{4, keys(1, 1), {3}}, it.now);
  CHECK_EQ(it.one<published>().stored, 0);
}

TEST_CASE("store_core: a publish allocates, writes what the shard lacks with one immediate, and commits") {
  auto it = fixture{};
  it.core.start(owner, publish{1, keys(1, 3), {20, 21, 22}}, it.now);
  auto move = it.write_to(0, {no_slot, 4, 5});
  CHECK(move.op == transport::direction::write);
  CHECK(move.immediate == 77u);
  REQUIRE_EQ(move.pieces.size(), 2);
  CHECK_EQ(move.pieces[0].local_offset, 21 * 64);
  CHECK_EQ(move.pieces[0].remote_offset, 4 * 64);
  it.core.on_moved({move.id, {}, 128}, it.now);
  auto ask = it.one<commit>();
  CHECK_EQ(ask.pieces, 1);
  CHECK_EQ(ask.op, move.id);
  it.core.on_committed({shard(0), ask.op}, it.now);
  CHECK_EQ(it.one<published>().stored, 2);
  CHECK_EQ(it.core.open_ops(), 0);
}

TEST_CASE("store_core: a publish of what the shard has already writes nothing") {
  auto it = fixture{};
  it.core.start(owner, publish{1, keys(1, 2), {20, 21}}, it.now);
  auto asked = it.one<allocate>();
  it.core.on_allocated({shard(0), asked.op, region, {no_slot, no_slot}, 77}, it.now);
  auto out = it.core.take_output();
  REQUIRE_EQ(out.size(), 2);
  CHECK_FALSE(std::get<release>(std::get<store_output::to_shard>(out[1].what).message).fence);
}

TEST_CASE("store_core: only a write that may still land makes the shard fence us") {
  for (auto code : {errc::timed_out, errc::peer_lost, errc::cancelled, errc::exhausted, errc::invalid_argument}) {
    auto it = fixture{};
    it.core.start(owner, publish{1, keys(1, 1), {20}}, it.now);
    auto move = it.write_to(0, {4});
    it.core.on_moved({move.id, {code, ""}, 0}, it.now);
    auto out = it.core.take_output();
    REQUIRE_EQ(out.size(), 2);
    CHECK_EQ(std::get<published>(std::get<store_output::to_owner>(out[0].what).message).stored, 0);
    auto ask = std::get<release>(std::get<store_output::to_shard>(out[1].what).message);
    CHECK_EQ(ask.fence, code == errc::timed_out || code == errc::peer_lost);
  }
}

TEST_CASE("store_core: a write whose arrival is not confirmed in time may still land") {
  auto it = fixture{};
  it.core.start(owner, publish{1, keys(1, 1), {20}}, it.now);
  auto move = it.write_to(0, {4});
  it.core.on_moved({move.id, {}, 64}, it.now);
  it.core.take_output();
  it.core.tick(it.now += transfer_ns);
  auto out = it.core.take_output();
  REQUIRE_EQ(out.size(), 2);
  CHECK(std::get<release>(std::get<store_output::to_shard>(out[1].what).message).fence);
}

TEST_CASE(
  "store_core: a cancelled publish is answered when its slots are no longer read, and committed behind the answer") {
  auto it = fixture{};
  it.core.start(owner, publish{1, keys(1, 1), {20}}, it.now);
  it.one<allocate>();
  it.core.cancel(owner, 1, it.now);
  CHECK_EQ(it.one<published>().stored, 0);
  it.core.start(owner, publish{2, keys(1, 1), {20}}, it.now);
  auto move = it.write_to(0, {4});
  it.core.cancel(owner, 2, it.now);
  CHECK(it.core.take_output().empty());
  it.core.on_moved({move.id, {}, 64}, it.now);
  auto out = it.core.take_output();
  REQUIRE_EQ(out.size(), 2);
  CHECK_EQ(std::get<published>(std::get<store_output::to_owner>(out[0].what).message).id, 2);
  CHECK_EQ(std::get<commit>(std::get<store_output::to_shard>(out[1].what).message).op, move.id);
  it.core.tick(it.now += retry_ns);
  CHECK_FALSE(it.all<commit>().empty());
}

TEST_CASE("store_core: the local shard is preferred while it lives, otherwise each key goes to its home") {
  auto it = fixture{3, 1};
  it.core.start(owner, publish{1, keys(1, 50), std::vector<uint32_t>(50, 0)}, it.now);
  auto out = it.core.take_output();
  REQUIRE_EQ(out.size(), 1);
  CHECK(std::get<store_output::to_shard>(out[0].what).to == shard(1));
  it.core.peer_down(shard(1), it.now);
  it.core.take_output();
  it.core.start(owner, publish{2, keys(1, 50), std::vector<uint32_t>(50, 0)}, it.now);
  auto asked = std::map<uint32_t, size_t>{};
  for (auto& message : it.core.take_output()) {
    auto& to = std::get<store_output::to_shard>(message.what);
    for (const auto& key : std::get<allocate>(to.message).keys) {
      ++asked[to.to.index];
      CHECK_GE(rendezvous_weight(key, to.to.index), rendezvous_weight(key, 2 - to.to.index));
    }
  }
  CHECK_EQ(asked.size(), 2);
  CHECK_GT(asked[0], 10);
  CHECK_GT(asked[2], 10);
}

TEST_CASE("store_core: jobs beyond the limit wait, beyond the queue they are answered with nothing") {
  auto it = fixture{1, std::nullopt, 1};
  for (uint64_t id = 1; id <= 4; ++id)
    it.core.start(owner, it.job(id, 1, {{shard(0), 1}}), it.now);
  auto out = it.core.take_output();
  REQUIRE_EQ(out.size(), 2);
  CHECK_EQ(std::get<fetched>(std::get<store_output::to_owner>(out[1].what).message).id, 4);
  it.core.cancel(owner, 2, it.now);
  CHECK_EQ(it.one<fetched>().id, 2);
  it.core.tick(it.now += 500);
  auto ids = std::set<uint64_t>{};
  for (const auto& end : it.all<fetched>())
    ids.insert(end.id);
  CHECK(ids == std::set<uint64_t>{1, 3});
}

TEST_CASE("store_core: a silent shard takes up no more operations than allowed") {
  auto it = fixture{};
  for (uint64_t id = 1; id <= 40; ++id) {
    it.core.start(owner, it.job(id, 1, {{shard(0), 1}}), it.now);
    it.core.cancel(owner, id, it.now);
  }
  CHECK_EQ(it.all<fetched>().size(), 40);
  CHECK_EQ(it.core.open_ops(), 16);
}

TEST_CASE("store_core: what a shard may forget is counted for that shard alone") {
  auto it = fixture{2};
  it.core.start(owner, it.job(1, 1, {{shard(0), 1}}), it.now);
  CHECK_EQ(it.one<lease>().open_from, 1);
  it.core.start(owner, it.job(2, 1, {{shard(1), 1}}), it.now);
  CHECK_EQ(it.one<lease>().open_from, 2);
  it.core.start(owner, it.job(3, 1, {{shard(0), 1}}), it.now);
  CHECK_EQ(it.one<lease>().open_from, 1);
}

namespace {

/// A publish of three blocks in two parts; the shard has the second block.
struct parts_fixture : fixture {
  parts_fixture() {
    auto ask = publish{1, keys(1, 3), {0, 0, 0}};
    ask.in_parts = true;
    core.start(owner, ask, now);
    op = one<allocate>().op;
  }

  void add(uint64_t offset) {
    core.add_part(owner, {1, offset, 32, {1000 + offset, 2000 + offset, 3000 + offset}}, now);
  }
  void allocate_all(std::vector<uint32_t> slots = {4, no_slot, 5}) {
    core.on_allocated({shard(0), op, region, std::move(slots), 77}, now);
  }
  /// Everything said since, in words.
  std::string said() {
    auto text = std::string{};
    for (auto& it : core.take_output())
      std::visit([&](auto& what) { say(what, text); }, it.what);
    REQUIRE(core.check());
    return text;
  }
  template <class Output>
  void say(const Output& what, std::string& text) {
    if constexpr (requires { what.message; })
      std::visit([&](const auto& message) { say(message, text); }, what.message);
    else if constexpr (std::is_same_v<Output, part_published>)
      text += "part " + std::to_string(what.offset) + ";";
    else if constexpr (std::is_same_v<Output, published>)
      text += "published " + std::to_string(what.stored) + ";";
    else if constexpr (std::is_same_v<Output, commit>)
      text += "commit " + std::to_string(what.pieces) + ";";
    else if constexpr (std::is_same_v<Output, release>)
      text += what.fence ? "release, fenced;" : "release;";
    else if constexpr (std::is_same_v<Output, move_blocks>) {
      text += "move;";
      moves.push_back(what);
    }
  }
  void moved_ok(size_t which, errc code = errc::none) {
    core.on_moved({moves.at(which).id, {code, ""}, 64}, now);
  }

  uint64_t op = 0;
  std::vector<move_blocks> moves;
};

} // namespace

TEST_CASE("store_core: a publish in parts writes each when it comes, and commits with the last") {
  auto it = parts_fixture{};
  it.add(0); // The shard has not answered yet.
  CHECK(it.said().empty());
  it.allocate_all();
  CHECK_EQ(it.said(), "move;");
  const auto& first = it.moves[0];
  CHECK_EQ(first.immediate, 77);
  REQUIRE_EQ(first.pieces.size(), 2);
  CHECK_EQ(first.pieces[0].local_offset, 1000);
  CHECK_EQ(first.pieces[0].remote_offset, 4 * 64);
  CHECK_EQ(first.pieces[1].local_offset, 3000);
  CHECK_EQ(first.pieces[1].remote_offset, 5 * 64);
  CHECK_EQ(first.pieces[1].bytes, 32);
  it.add(32);
  CHECK_EQ(it.said(), "move;");
  CHECK_EQ(it.moves[1].pieces[0].remote_offset, 4 * 64 + 32);
  it.moved_ok(1);
  CHECK_EQ(it.said(), "part 32;");
  it.moved_ok(0);
  CHECK_EQ(it.said(), "part 0;commit 2;");
  it.core.on_committed({shard(0), it.op}, it.now);
  CHECK_EQ(it.said(), "published 2;");
  CHECK_EQ(it.core.open_ops(), 0);
  CHECK_EQ(it.core.open_jobs(), 0);
}

TEST_CASE("store_core: parts of a publish that is over, or that nobody made room for, are answered and not written") {
  auto it = parts_fixture{};
  it.add(0);
  it.allocate_all({no_slot, no_slot, no_slot});
  CHECK_EQ(it.said(), "part 0;published 0;release;");
  it.add(32);
  CHECK_EQ(it.said(), "part 32;");
  CHECK_EQ(it.core.open_jobs(), 0);
}

TEST_CASE("store_core: a publish in parts that ends early gives its slots back, fenced if anything was written") {
  auto it = parts_fixture{};
  SUBCASE("before the shard answered") {
    it.add(0);
    it.core.cancel(owner, 1, it.now);
    CHECK_EQ(it.said(), "release;part 0;published 0;");
  }
  SUBCASE("before anything was written") {
    it.allocate_all();
    it.core.cancel(owner, 1, it.now);
    CHECK_EQ(it.said(), "release;published 0;");
  }
  SUBCASE("between two parts") {
    it.allocate_all();
    it.add(0);
    it.said();
    it.moved_ok(0);
    it.said();
    it.core.cancel(owner, 1, it.now);
    CHECK_EQ(it.said(), "release, fenced;published 0;");
  }
  SUBCASE("while parts are written") {
    it.allocate_all();
    it.add(0);
    it.add(32);
    it.said();
    it.core.cancel(owner, 1, it.now);
    it.moved_ok(0);
    CHECK_EQ(it.said(), "part 0;");
    it.moved_ok(1);
    CHECK_EQ(it.said(), "part 32;published 0;release, fenced;");
  }
  SUBCASE("because a part could not be written") {
    it.allocate_all();
    it.add(0);
    it.said();
    it.moved_ok(0, errc::cancelled);
    CHECK_EQ(it.said(), "part 0;published 0;release;");
    it.add(32);
    CHECK_EQ(it.said(), "part 32;");
  }
  SUBCASE("because a part may still land") {
    it.allocate_all();
    it.add(0);
    it.add(32);
    it.said();
    it.moved_ok(0, errc::timed_out);
    it.moved_ok(1);
    CHECK_EQ(it.said(), "part 0;part 32;published 0;release, fenced;");
  }
  SUBCASE("because its owner is gone") {
    it.allocate_all();
    it.add(0);
    it.said();
    it.core.owner_gone(owner, it.now);
    it.moved_ok(0);
    CHECK_EQ(it.said(), "release, fenced;");
  }
  CHECK_EQ(it.core.open_jobs(), 0);
  it.core.on_released({shard(0), it.op}, it.now);
  CHECK_EQ(it.core.open_ops(), 0);
}

TEST_CASE("store_core: a publish in parts ends with its shard, at once or with the part that is being written") {
  auto it = parts_fixture{};
  it.allocate_all();
  SUBCASE("between two parts") {
    it.core.peer_down(shard(0), it.now);
    CHECK_EQ(it.said(), "published 0;");
  }
  SUBCASE("while one is written") {
    it.add(0);
    it.said();
    it.core.peer_down(shard(0), it.now);
    CHECK(it.said().empty());
    it.add(32);
    CHECK_EQ(it.said(), "part 32;");
    it.moved_ok(0, errc::peer_lost);
    CHECK_EQ(it.said(), "part 0;published 0;");
  }
  CHECK_EQ(it.core.open_jobs(), 0);
  CHECK_EQ(it.core.open_ops(), 0);
}

TEST_CASE("store_core: a block without a slot is lent or ends the fetch") {
  auto it = fixture{3, 1, 4, lent_pool{1, 100, 7}};
  auto ask = it.lending_job(1, 4, 3, {{shard(1), 4}});
  ask.slots[2] = ask.slots[3] = no_slot;
  it.core.start(owner, ask, it.now);
  auto asked = it.one<borrow>();
  SUBCASE("lent") {
    it.core.on_lent({shard(1), asked.id, {7, 8, 9}, false}, it.now);
    CHECK_EQ(it.one<fetched>().blocks, 3); // The fourth could only be read.
  }
  SUBCASE("no more may be lent") {
    it.core.on_lent({shard(1), asked.id, {7}, true}, it.now);
    auto read = it.one<lease>();
    REQUIRE_EQ(read.keys.size(), 1);
    CHECK(read.keys[0] == ask.keys[1]);
  }
}

TEST_CASE("store_core: an owner that ends gets no answers and leaves nothing behind") {
  auto it = fixture{};
  it.core.start(owner, it.job(1, 1, {{shard(0), 1}}), it.now);
  auto move = it.read_from(0, {4});
  it.core.start(owner, publish{2, keys(1, 1), {3}}, it.now);
  it.core.take_output();
  it.core.owner_gone(owner, it.now);
  it.core.on_moved({move.id, {errc::cancelled, ""}, 0}, it.now);
  CHECK(it.all<fetched>().empty());
  CHECK_EQ(it.core.open_jobs(), 0);
}

namespace {

/// Of three shards the second is on the client's own node, and its pool can be read in place from slot 100 on.
struct lending_fixture : fixture {
  lending_fixture() : fixture(3, 1, 4, lent_pool{1, 100, 7}) {}

  /// What the shard beside it is asked for, up to the answer.
  borrow borrow_from(std::vector<uint32_t> slots, bool full = false) {
    auto asked = one<borrow>();
    core.on_lent({shard(1), asked.id, std::move(slots), full}, now);
    return asked;
  }
};

} // namespace

TEST_CASE("store_core: what may be lent is borrowed from the shard beside it, and the rest is read") {
  auto it = lending_fixture{};
  it.core.start(owner, it.lending_job(1, 5, 3, {{shard(0), 1}, {shard(1), 4}}), it.now);
  auto move = it.read_from(0, {4});
  it.core.on_moved({move.id, {}, 64}, it.now);
  auto asked = it.borrow_from({6, 2});
  CHECK(asked.from == self);
  CHECK(asked.keys == keys(2, 3));
  move = it.read_from(1, {8, 9});
  CHECK_EQ(move.pieces[0].local_offset, 13 * 64);
  it.core.on_moved({move.id, {}, 128}, it.now);
  auto news = it.one<fetched>();
  CHECK_EQ(news.blocks, 5);
  CHECK_EQ(news.bytes, 3 * 64);
  CHECK(news.lent == std::vector<uint32_t>{no_slot, 106, 102, no_slot, no_slot});
  CHECK_EQ(it.core.open_loans(), 1);
  it.core.give_back(owner, 1, it.now);
  CHECK_EQ(it.one<return_blocks>().id, asked.id);
  it.core.give_back(owner, 1, it.now);
  CHECK(it.all<return_blocks>().empty());
  CHECK_EQ(it.core.open_loans(), 0);
}

TEST_CASE("store_core: a part of each block, or a shard whose pool it cannot read, is never borrowed") {
  auto it = lending_fixture{};
  auto ask = it.lending_job(1, 2, 2, {{shard(1), 2}});
  ask.bytes = 16;
  it.core.start(owner, ask, it.now);
  CHECK(it.one<lease>().keys == keys(1, 2));
  it.core.start(owner, it.lending_job(2, 2, 2, {{shard(2), 2}}), it.now);
  CHECK(it.one<lease>().keys == keys(1, 2));
  auto other = fixture{2, 1};
  other.core.start(owner, other.lending_job(1, 2, 2, {{shard(1), 2}}), other.now);
  CHECK(other.one<lease>().keys == keys(1, 2));
}

TEST_CASE("store_core: a shard that may lend no more is read from; one that has no more ends the fetch") {
  auto it = lending_fixture{};
  it.core.start(owner, it.lending_job(1, 4, 4, {{shard(1), 4}}), it.now);
  it.borrow_from({6}, true);
  CHECK(it.one<lease>().keys == keys(2, 4));
  auto other = lending_fixture{};
  other.core.start(owner, other.lending_job(1, 4, 3, {{shard(1), 4}}), other.now);
  other.borrow_from({6});
  auto news = other.one<fetched>();
  CHECK_EQ(news.blocks, 1);
  CHECK(news.lent == std::vector<uint32_t>{106});
  auto none = lending_fixture{};
  none.core.start(owner, none.lending_job(1, 4, 3, {{shard(1), 4}}), none.now);
  none.borrow_from({});
  news = none.one<fetched>();
  CHECK_EQ(news.blocks, 0);
  CHECK(news.lent.empty());
  CHECK_EQ(none.core.open_loans(), 0);
}

TEST_CASE("store_core: a fetch that ends while it borrows returns what comes too late") {
  auto it = lending_fixture{};
  it.core.start(owner, it.lending_job(1, 2, 2, {{shard(1), 2}}), it.now);
  auto asked = it.one<borrow>();
  SUBCASE("cancelled") {
    it.core.cancel(owner, 1, it.now);
  }
  SUBCASE("too late") {
    it.now += 500;
    it.core.tick(it.now);
  }
  auto out = it.core.take_output();
  REQUIRE_EQ(out.size(), 2);
  CHECK_EQ(std::get<return_blocks>(std::get<store_output::to_shard>(out[0].what).message).id, asked.id);
  auto news = std::get<fetched>(std::get<store_output::to_owner>(out[1].what).message);
  CHECK_EQ(news.blocks, 0);
  CHECK(news.lent.empty());
  it.core.on_lent({shard(1), asked.id, {6, 2}, false}, it.now);
  CHECK(it.core.take_output().empty());
  CHECK_EQ(it.core.open_loans(), 0);
}

TEST_CASE("store_core: what was lent before a fetch was cancelled is the owner's to give back") {
  auto it = lending_fixture{};
  it.core.start(owner, it.lending_job(1, 4, 2, {{shard(1), 4}}), it.now);
  it.borrow_from({6, 2});
  auto move = it.read_from(1, {8, 9});
  it.core.cancel(owner, 1, it.now);
  it.core.on_moved({move.id, {errc::cancelled, ""}, 0}, it.now);
  auto news = it.one<fetched>();
  CHECK_EQ(news.blocks, 2);
  CHECK(news.lent == std::vector<uint32_t>{106, 102});
  it.core.give_back(owner, 1, it.now);
  CHECK_EQ(it.all<return_blocks>().size(), 1);
}

TEST_CASE("store_core: when the shard beside it dies, what is being borrowed ends, and what was lent has no return") {
  auto it = lending_fixture{};
  it.core.start(owner, it.lending_job(1, 2, 2, {{shard(1), 2}}), it.now);
  it.borrow_from({6, 2});
  CHECK_EQ(it.core.open_loans(), 1);
  it.core.start(owner, it.lending_job(2, 2, 2, {{shard(1), 2}}), it.now);
  it.one<borrow>();
  it.core.peer_down(shard(1), it.now);
  auto news = it.one<fetched>();
  CHECK_EQ(news.id, 2);
  CHECK_EQ(news.blocks, 0);
  it.core.give_back(owner, 1, it.now);
  CHECK(it.core.take_output().empty());
  CHECK_EQ(it.core.open_loans(), 0);
}

TEST_CASE("store_core: what an owner had lent when it ended is kept until its transfers are over") {
  auto it = lending_fixture{};
  it.core.start(owner, it.lending_job(1, 2, 2, {{shard(1), 2}}), it.now);
  it.borrow_from({6, 2});
  it.core.start(owner, it.lending_job(2, 2, 2, {{shard(1), 2}}), it.now);
  auto asked = it.one<borrow>();
  it.core.owner_gone(owner, it.now);
  CHECK_EQ(it.one<return_blocks>().id, asked.id); // Nobody has seen it.
  it.now += it.core.lent_after_ns() - 1;
  it.core.tick(it.now);
  CHECK(it.all<return_blocks>().empty());
  it.core.tick(++it.now);
  CHECK_EQ(it.all<return_blocks>().size(), 1);
  CHECK_EQ(it.core.open_loans(), 0);
}

TEST_CASE("store_core: lent blocks are named in a publish where they lie, and are never written") {
  auto it = lending_fixture{};
  it.core.start(owner, publish{1, keys(1, 3), {no_slot, no_slot, 20}}, it.now);
  auto asked = it.one<allocate>();
  CHECK(asked.keys == keys(1, 3));
  it.core.on_allocated({shard(1), asked.op, region, {no_slot, no_slot, 5}, 77}, it.now);
  auto move = it.one<move_blocks>();
  REQUIRE_EQ(move.pieces.size(), 1);
  CHECK_EQ(move.pieces[0].local_offset, 20 * 64);

  SUBCASE("if one is not there any more, nothing is stored") {
    it.core.start(owner, publish{2, keys(1, 3), {no_slot, no_slot, 20}}, it.now);
    asked = it.one<allocate>();
    it.core.on_allocated({shard(1), asked.op, region, {no_slot, 4, 5}, 78}, it.now);
    auto out = it.core.take_output();
    REQUIRE_EQ(out.size(), 2);
    CHECK_EQ(std::get<published>(std::get<store_output::to_owner>(out[0].what).message).stored, 0);
    CHECK_FALSE(std::get<release>(std::get<store_output::to_shard>(out[1].what).message).fence);
  }
  SUBCASE("another shard is not told of them") {
    it.core.peer_down(shard(1), it.now);
    it.core.start(owner, publish{2, keys(1, 3), {no_slot, no_slot, 20}}, it.now);
    CHECK(it.one<allocate>().keys == keys(3, 3));
  }
}
