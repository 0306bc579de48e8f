// SPDX-License-Identifier: Apache-2.0
#include "tests/actors/cache/store_fixture.hpp"

#include <set>

using namespace perigee;
using namespace perigee::testing::store;

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
