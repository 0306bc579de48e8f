// SPDX-License-Identifier: Apache-2.0
#include "tests/edge/fabric_conformance_support.hpp"

namespace perigee::testing::fabric_cases {

namespace {

/// Keeps two other processes busy for a while, so that whatever still is on its way elsewhere gets its time to land.
void let_time_pass(fabric_world& world) {
  auto& a = world.add(4 * MiB, std::byte{1});
  auto& b = world.add(4 * MiB, std::byte{0});
  auto pair = join(a, b);
  for (auto id = uint32_t{1}; id <= 40; ++id) {
    a->post(write_to(id, a, pair.there, b.remote(), {{0, 0, 4 * MiB}}, id));
    REQUIRE(world.pump([&] { return a.log.completed_times(id) == 1 && b.log.arrivals().size() == id; }));
    REQUIRE(a.log.result(id).ok());
  }
}

} // namespace

void ranges_are_checked(fabric_world& world) {
  auto& a = world.add(64 * KiB, std::byte{1});
  auto& b = world.add(64 * KiB, std::byte{2});
  auto pair = join(a, b);
  auto to_b = b.remote();
  constexpr auto most = ~uint64_t{0};
  a->post(write_to(1, a, pair.there, to_b, {{0, 64 * KiB - 7, 8}}, 1));
  a->post(write_to(2, a, pair.there, to_b, {{64 * KiB - 7, 0, 8}}, 2));
  a->post(write_to(3, a, pair.there, to_b, {{0, 0, 8}, {0, most - 3, 8}}, 3));
  a->post(read_from(4, a, pair.there, to_b, {{most, 0, 1}}));
  a->post(read_from(5, a, pair.there, to_b, {{0, 1, most}}));
  auto unknown_region = write_to(6, a, pair.there, to_b, {{0, 0, 8}}, 6);
  unknown_region.local = a.region + 1000;
  a->post(unknown_region);
  auto read_with_immediate = read_from(7, a, pair.there, to_b, {{0, 0, 8}});
  read_with_immediate.immediate = 7;
  a->post(read_with_immediate);
  a->post(write_to(8, a, pair.there + 1000, to_b, {{0, 0, 8}}, 8));
  a->post(write_to(9, a, pair.there, to_b, {{0, 64 * KiB - 8, 8}}, 9));
  REQUIRE(world.pump([&] { return done_once(a, 1, 9) && b.log.arrivals().size() == 1; }));
  for (auto id = 1; id <= 7; ++id) {
    CHECK_EQ(a.log.result(id).code, errc::invalid_argument);
    CHECK(!a.log.result(id).context.empty());
  }
  CHECK_EQ(a.log.result(8).code, errc::peer_lost);
  CHECK(a.log.result(9).ok());
  CHECK_EQ(b.log.arrivals()[0].immediate, 9);
  CHECK(all_are(part(b, 0, 64 * KiB - 8), std::byte{2}));
  CHECK(all_are(a.memory, std::byte{1}));
}

void a_wrong_key_fails_alone(fabric_world& world) {
  auto& a = world.add(MiB, std::byte{1});
  auto& b = world.add(MiB, std::byte{2});
  auto& c = world.add(MiB, std::byte{3});
  auto to_b = join(a, b);
  auto to_c = join(a, c);
  auto wrong = b.remote();
  wrong.key ^= 0x5a5a5a5a;
  a->post(write_to(1, a, to_b.there, wrong, {{0, 0, MiB}}, 1));
  a->post(write_to(2, a, to_c.there, c.remote(), {{0, 0, MiB}}, 2));
  REQUIRE(world.pump([&] { return done_once(a, 1, 2) && c.log.arrivals().size() == 1; }));
  CHECK(!a.log.result(1).ok());
  CHECK(!a.log.result(1).context.empty());
  CHECK(a.log.result(2).ok());
  CHECK(all_are(b.memory, std::byte{2}));
  CHECK(all_are(c.memory, std::byte{1}));
  CHECK(b.log.arrivals().empty());
  // The provider may have given the peer up for it; as a new peer it is reached again.
  a->fence(to_b.there);
  b->fence(to_b.back);
  REQUIRE(world.pump([&] { return fenced(a, to_b.there) && fenced(b, to_b.back); }));
  auto again = join(a, b);
  a->post(read_from(3, a, again.there, wrong, {{0, 0, KiB}}));
  REQUIRE(world.pump([&] { return a.log.completed_times(3) == 1; }));
  CHECK(!a.log.result(3).ok());
  CHECK(all_are(a.memory, std::byte{1}));
  a->fence(again.there);
  b->fence(again.back);
  again = join(a, b);
  a->post(write_to(4, a, again.there, b.remote(), {{0, 0, MiB}}, 4));
  REQUIRE(world.pump([&] { return a.log.completed_times(4) == 1 && b.log.arrivals().size() == 1; }));
  CHECK(a.log.result(4).ok());
  CHECK(all_are(b.memory, std::byte{1}));
}

void a_deregistered_region_is_out_of_reach(fabric_world& world) {
  auto& a = world.add(MiB, std::byte{1});
  auto& b = world.add(MiB, std::byte{2});
  auto pair = join(a, b);
  auto gone = b.remote();
  a->post(read_from(1, a, pair.there, gone, {{0, 0, 100}}));
  REQUIRE(world.pump([&] { return a.log.completed_times(1) == 1; }));
  REQUIRE(a.log.result(1).ok());
  b->deregister(b.region);
  a->post(write_to(2, a, pair.there, gone, {{0, 0, MiB}}, 2));
  REQUIRE(world.pump([&] { return a.log.completed_times(2) == 1; }));
  CHECK(!a.log.result(2).ok());
  CHECK(all_are(b.memory, std::byte{2}));
  CHECK(b.log.arrivals().empty());
  // The name of a region that a waiting transfer uses stays.
  auto silent = a->open_peer("nobody yet");
  a->post(write_to(3, a, silent, gone, {{0, 0, 8}}));
  CHECK_THROWS_AS(a->deregister(a.region), failure);
  a->fence(silent);
  REQUIRE(world.pump([&] { return fenced(a, silent); }));
  a->deregister(a.region);
  CHECK_THROWS_AS(a->remote(a.region), failure);
}

void a_cancelled_transfer_never_lands(fabric_world& world) {
  auto& a = world.add(MiB, std::byte{1});
  auto& b = world.add(MiB, std::byte{2});
  auto there = a->open_peer("b");
  auto back = b->open_peer("a");
  a->cancel(4711); // nothing
  a->post(write_to(1, a, there, b.remote(), {{0, 0, KiB}}, 1));
  a->post(write_to(2, a, there, b.remote(), {{0, KiB, KiB}}, 2));
  a->cancel(1);
  REQUIRE(world.pump([&] { return a.log.completed_times(1) == 1; }));
  CHECK_EQ(a.log.result(1).code, errc::cancelled);
  a->cancel(1); // too late
  a->connect(there, b->local_address(back));
  b->connect(back, a->local_address(there));
  REQUIRE(world.pump([&] { return a.log.completed_times(2) == 1 && b.log.arrivals().size() == 1; }));
  let_time_pass(world);
  CHECK_EQ(b.log.arrivals().size(), 1);
  CHECK_EQ(b.log.arrivals()[0].immediate, 2);
  CHECK(all_are(part(b, 0, KiB), std::byte{2}));
  CHECK(all_are(part(b, KiB, KiB), std::byte{1}));
  CHECK_EQ(a.log.completions().size(), 2);
  CHECK_EQ(a->totals().failed_transfers, 0);
}

void a_running_transfer_may_be_cancelled(fabric_world& world) {
  constexpr auto bytes = 24 * MiB;
  auto& a = world.add(bytes, std::byte{1});
  auto& b = world.add(bytes, std::byte{2});
  auto pair = join(a, b);
  for (auto id = uint32_t{1}; id <= 6; ++id) {
    std::fill(a.memory.begin(), a.memory.end(), std::byte{1});
    a->post(write_to(2 * id, a, pair.there, b.remote(), {{0, 0, bytes}}, id));
    // The first ones before they can have started, the later ones at some point on their way.
    if (id > 2) {
      a->post(write_to(2 * id + 1, a, transport::self_peer, a.remote(), {{0, bytes / 2, id * MiB}}));
      REQUIRE(world.pump([&] { return a.log.completed_times(2 * id + 1) == 1; }));
    }
    a->cancel(2 * id);
    REQUIRE(world.pump([&] { return a.log.completed_times(2 * id) == 1; }));
    auto result = a.log.result(2 * id);
    CHECK((result.ok() || result.code == errc::cancelled));
    // Our memory is ours again: what we put there now is not what is sent.
    std::fill(a.memory.begin(), a.memory.end(), std::byte{9});
  }
  let_time_pass(world);
  CHECK(std::find(b.memory.begin(), b.memory.end(), std::byte{9}) == b.memory.end());
  for (const auto& what : b.log.arrivals())
    CHECK(a.log.result(2 * what.immediate).ok());
  for (auto id = uint64_t{1}; id <= 6; ++id)
    CHECK_EQ(a.log.completed_times(2 * id), 1);
}

void a_fence_ends_what_is_queued(fabric_world& world) {
  auto& a = world.add(MiB, std::byte{1});
  auto& b = world.add(MiB, std::byte{2});
  auto there = a->open_peer("b");
  for (auto id = uint64_t{1}; id <= 100; ++id)
    a->post(write_to(id, a, there, b.remote(), {{0, 0, KiB}}, 1));
  a->fence(there);
  a->post(write_to(101, a, there, b.remote(), {{0, 0, KiB}}, 1));
  REQUIRE(world.pump([&] { return fenced(a, there) && done_once(a, 1, 101); }));
  for (auto id = uint64_t{1}; id <= 101; ++id)
    CHECK_EQ(a.log.result(id).code, errc::peer_lost);
  CHECK_GE(a.log.completions_at_fence(there), 100);
  CHECK_EQ(a->totals().failed_transfers, 101);
  auto idle = a->open_peer("c");
  CHECK(idle != there);
  a->fence(idle);
  REQUIRE(world.pump([&] { return fenced(a, idle); }));
}

void a_fence_ends_what_runs(fabric_world& world) {
  auto& a = world.add(8 * MiB, std::byte{1});
  auto& b = world.add(8 * MiB, std::byte{2});
  auto pair = join(a, b);
  a->post(write_to(1, a, pair.there, b.remote(), {{0, 0, KiB}}, 1));
  REQUIRE(world.pump([&] { return b.log.arrivals().size() == 1; }));
  for (auto id = uint64_t{2}; id <= 60; ++id) {
    if (id % 4 == 0)
      a->post(read_from(id, a, pair.there, b.remote(), {{4 * MiB, 4 * MiB, 4 * MiB}}));
    else
      a->post(write_to(id, a, pair.there, b.remote(), {{0, 0, 4 * MiB}}, 1));
  }
  a->fence(pair.there);
  REQUIRE(world.pump([&] { return fenced(a, pair.there); }));
  CHECK_EQ(a.log.completions_at_fence(pair.there), 60);
  CHECK(done_once(a, 1, 60));
  for (auto id = uint64_t{2}; id <= 60; ++id) {
    auto result = a.log.result(id);
    CHECK((result.ok() || result.code == errc::peer_lost));
  }
  std::fill(a.memory.begin(), a.memory.end(), std::byte{7});
  let_time_pass(world);
  CHECK(all_are(a.memory, std::byte{7})); // no read of before the fence comes now
  CHECK(std::find(b.memory.begin(), b.memory.end(), std::byte{7}) == b.memory.end());
  // The other side ends in its own time or by its own fence.
  b->fence(pair.back);
  REQUIRE(world.pump([&] { return fenced(b, pair.back); }));
}

void a_peer_that_fenced_us_is_reached_no_more(fabric_world& world) {
  auto& a = world.add(MiB, std::byte{1});
  auto& b = world.add(MiB, std::byte{2});
  auto pair = join(a, b);
  a->post(write_to(1, a, pair.there, b.remote(), {{0, 0, KiB}}, 1));
  REQUIRE(world.pump([&] { return a.log.completed_times(1) == 1 && b.log.arrivals().size() == 1; }));
  b->fence(pair.back);
  REQUIRE(world.pump([&] { return fenced(b, pair.back); }));
  // A new peer at the same process must not inherit what the old one was told.
  auto& c = world.add(MiB, std::byte{3});
  auto other = join(c, b);
  for (auto id = uint64_t{2}; id <= 20; ++id)
    a->post(write_to(id, a, pair.there, b.remote(), {{0, KiB, KiB}}, 2));
  a->post(read_from(21, a, pair.there, b.remote(), {{KiB, 0, KiB}}));
  c->post(write_to(1, c, other.there, b.remote(), {{0, 2 * KiB, KiB}}, 3));
  REQUIRE(
    world.pump([&] { return done_once(a, 2, 21) && c.log.completed_times(1) == 1 && b.log.arrivals().size() == 2; }));
  for (auto id = uint64_t{2}; id <= 21; ++id)
    CHECK(!a.log.result(id).ok());
  CHECK(c.log.result(1).ok());
  CHECK_EQ(b.log.arrivals()[1].from, other.back);
  CHECK(all_are(part(b, KiB, KiB), std::byte{2}));
  CHECK(all_are(a.memory, std::byte{1}));
}

void a_dead_peer_harms_no_other(fabric_world& world) {
  auto& a = world.add(4 * MiB, std::byte{1});
  auto& dead = world.add(4 * MiB, std::byte{2});
  auto& alive = world.add(4 * MiB, std::byte{3});
  auto to_dead = join(a, dead);
  auto to_alive = join(a, alive);
  a->post(write_to(1, a, to_dead.there, dead.remote(), {{0, 0, KiB}}, 1));
  REQUIRE(world.pump([&] { return dead.log.arrivals().size() == 1; }));
  auto dead_memory = dead.remote();
  for (auto id = uint64_t{2}; id <= 40; ++id)
    a->post(write_to(id, a, to_dead.there, dead_memory, {{0, 0, 4 * MiB}}, 1));
  world.kill(dead);
  for (auto id = uint64_t{41}; id <= 50; ++id)
    a->post(read_from(id, a, to_dead.there, dead_memory, {{0, 0, KiB}}));
  a->post(write_to(51, a, to_alive.there, alive.remote(), {{0, 0, 4 * MiB}}, 51));
  REQUIRE(world.pump([&] { return a.log.completed_times(51) == 1 && alive.log.arrivals().size() == 1; }));
  CHECK(a.log.result(51).ok());
  a->fence(to_dead.there);
  REQUIRE(world.pump([&] { return fenced(a, to_dead.there); }));
  CHECK(done_once(a, 1, 50));
  CHECK(!a.log.result(50).ok());
  a->post(write_to(52, a, to_dead.there, dead_memory, {{0, 0, KiB}}, 1));
  a->post(write_to(53, a, to_alive.there, alive.remote(), {{0, 0, KiB}}, 53));
  REQUIRE(world.pump([&] { return done_once(a, 52, 53); }));
  CHECK_EQ(a.log.result(52).code, errc::peer_lost);
  CHECK(a.log.result(53).ok());
}

void a_restarted_peer_is_a_new_one(fabric_world& world) {
  auto& a = world.add(MiB, std::byte{1});
  auto& first = world.add(MiB, std::byte{2});
  auto before = join(a, first);
  a->post(write_to(1, a, before.there, first.remote(), {{0, 0, MiB}}, 1));
  REQUIRE(world.pump([&] { return a.log.completed_times(1) == 1; }));
  auto old_memory = first.remote();
  world.kill(first);
  auto& second = world.add(MiB, std::byte{3});
  // What somebody still does with the old names reaches nobody.
  a->post(write_to(2, a, before.there, second.remote(), {{0, 0, KiB}}, 2));
  auto stale = join(a, second);
  CHECK(stale.there != before.there);
  a->post(write_to(3, a, stale.there, old_memory, {{0, 0, MiB}}, 3));
  REQUIRE(world.pump([&] { return a.log.completed_times(3) == 1; }));
  CHECK(!a.log.result(3).ok());
  for (auto peer : {before.there, stale.there}) {
    a->fence(peer);
    REQUIRE(world.pump([&] { return fenced(a, peer); }));
  }
  CHECK_EQ(a.log.completed_times(2), 1);
  CHECK(!a.log.result(2).ok());
  CHECK(all_are(second.memory, std::byte{3}));
  CHECK(second.log.arrivals().empty());
  auto after = join(a, second);
  a->post(write_to(4, a, after.there, second.remote(), {{0, 0, MiB}}, 4));
  REQUIRE(world.pump([&] { return a.log.completed_times(4) == 1 && second.log.arrivals().size() == 1; }));
  CHECK(a.log.result(4).ok());
  CHECK(all_are(second.memory, std::byte{1}));
}

void a_late_write_never_lands_after_the_fence(fabric_world& world) {
  constexpr auto bytes = 4 * MiB;
  auto& a = world.add(bytes, std::byte{0});
  for (auto round = size_t{1}; round <= 4; ++round) {
    auto writer = world.party(bytes, std::byte{0xaa});
    auto peer = join(a, *writer);
    auto seen = a.log.arrivals().size();
    writer->write_forever(a.remote());
    // Another number each round, so that it is caught at other points.
    REQUIRE(world.pump([&] { return a.log.arrivals().size() >= seen + 3 * round; }));
    writer->stop();
    a->fence(peer);
    REQUIRE(world.pump([&] { return fenced(a, peer); }));
    auto arrived = a.log.arrivals().size();
    std::fill(a.memory.begin(), a.memory.end(), std::byte{0x55});
    writer->resume();
    let_time_pass(world);
    CHECK(all_are(a.memory, std::byte{0x55}));
    CHECK_EQ(a.log.arrivals().size(), arrived);
  }
}

void a_writer_that_dies_half_way_leaves_no_arrival(fabric_world& world) {
  constexpr auto bytes = 8 * MiB;
  auto& a = world.add(bytes, std::byte{0});
  auto last = uint32_t{0};
  auto out_of_order = 0;
  a.log.on_arrival = [&](const fabric_log::arrival& what) {
    out_of_order += what.immediate != ++last;
    if (!all_are(std::span{a.memory}.last(KiB), std::byte{0xaa})
        || !all_are(std::span{a.memory}.first(KiB), std::byte{0xaa}))
      ++out_of_order;
  };
  auto writer = world.party(bytes, std::byte{0xaa});
  auto peer = join(a, *writer);
  writer->write_forever(a.remote());
  REQUIRE(world.pump([&] { return a.log.arrivals().size() >= 3; }));
  writer->stop();
  writer->kill();
  let_time_pass(world);
  auto arrived = a.log.arrivals().size();
  a->fence(peer);
  REQUIRE(world.pump([&] { return fenced(a, peer); }));
  CHECK_EQ(a.log.arrivals().size(), arrived);
  CHECK_EQ(out_of_order, 0);
  // The next one is served as the first.
  auto next = world.party(bytes, std::byte{0xaa});
  last = 0;
  auto again = join(a, *next);
  next->write_forever(a.remote());
  REQUIRE(world.pump([&] { return a.log.arrivals().size() >= arrived + 2; }));
  a->fence(again);
  REQUIRE(world.pump([&] { return fenced(a, again); }));
  CHECK_EQ(out_of_order, 0);
}

void a_silent_target_ends_by_fence(fabric_world& world) {
  auto& a = world.add(4 * MiB, std::byte{1});
  auto& other = world.add(4 * MiB, std::byte{2});
  auto silent = world.party(4 * MiB, std::byte{0xaa});
  auto to_silent = join(a, *silent);
  auto to_other = join(a, other);
  auto memory = silent->memory();
  a->post(read_from(1, a, to_silent, memory, {{0, 0, KiB}}));
  REQUIRE(world.pump([&] { return a.log.completed_times(1) == 1; }));
  REQUIRE(a.log.result(1).ok());
  CHECK(all_are(part(a, 0, KiB), std::byte{0xaa}));
  silent->stop();
  for (auto id = uint64_t{2}; id <= 60; ++id) {
    if (id % 2 == 0)
      a->post(write_to(id, a, to_silent, memory, {{0, 0, MiB}}, 1));
    else
      a->post(read_from(id, a, to_silent, memory, {{2 * MiB, 0, MiB}}));
  }
  // Others do not wait for it.
  for (auto id = uint64_t{61}; id <= 70; ++id)
    a->post(write_to(id, a, to_other.there, other.remote(), {{0, 0, KiB}}, 1));
  REQUIRE(world.pump([&] { return done_once(a, 61, 70) && other.log.arrivals().size() == 10; }));
  a->cancel(60);
  a->fence(to_silent);
  REQUIRE(world.pump([&] { return fenced(a, to_silent); }));
  CHECK(done_once(a, 1, 60));
  CHECK_EQ(a.log.completions_at_fence(to_silent), a.log.completions().size());
  std::fill(a.memory.begin(), a.memory.end(), std::byte{7});
  silent->resume();
  let_time_pass(world);
  CHECK(all_are(a.memory, std::byte{7}));
  CHECK(done_once(a, 1, 70));
}

} // namespace perigee::testing::fabric_cases
