// SPDX-License-Identifier: Apache-2.0
#include "tests/actors/cache/store_fixture.hpp"

using namespace perigee;
using namespace perigee::testing::store;

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
