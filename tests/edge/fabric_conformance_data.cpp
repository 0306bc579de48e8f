// SPDX-License-Identifier: Apache-2.0
#include "tests/edge/fabric_conformance_support.hpp"

#include <atomic>
#include <cstring>

namespace perigee::testing::fabric_cases {

using transport::direction;
using transport::piece;

void writes_and_reads_move_exactly_the_gather_list(fabric_world& world) {
  auto& a = world.add(4 * MiB, std::byte{0});
  auto& b = world.add(4 * MiB, std::byte{0x11});
  fill_pattern(a.memory, 1);
  auto expected = b.memory;
  auto pair = join(a, b);
  // Odd offsets and sizes, neighbours that touch, an empty one, one larger than a provider's piece.
  auto list =
    std::vector<piece>{{3, 4095, 5}, {8, 4100, 1000}, {MiB, 70001, 0}, {2 * MiB - 1, MiB + 7, 2 * MiB - 9}, {77, 1, 1}};
  for (const auto& one : list)
    std::memcpy(expected.data() + one.remote_offset, a.memory.data() + one.local_offset, one.bytes);
  a->post(write_to(1, a, pair.there, b.remote(), list, 1));
  REQUIRE(world.pump([&] { return a.log.completed_times(1) == 1 && b.log.arrivals().size() == 1; }));
  CHECK(a.log.result(1).ok());
  CHECK_EQ(a.log.completions()[0].bytes, 5 + 1000 + 2 * MiB - 9 + 1);
  CHECK(equal(b.memory, expected));

  auto before = a.memory;
  auto back = std::vector<piece>{{100, 4095, 2000}, {3 * MiB + 1, 1, MiB - 2}};
  for (const auto& one : back)
    std::memcpy(before.data() + one.local_offset, b.memory.data() + one.remote_offset, one.bytes);
  a->post(read_from(2, a, pair.there, b.remote(), back));
  REQUIRE(world.pump([&] { return a.log.completed_times(2) == 1; }));
  CHECK(a.log.result(2).ok());
  CHECK(equal(a.memory, before));
  CHECK(equal(b.memory, expected));
}

void an_immediate_follows_its_bytes(fabric_world& world) {
  constexpr auto transfers = uint32_t{100};
  constexpr auto slot = 40 * KiB;
  auto& a = world.add(transfers * slot, std::byte{0});
  auto& b = world.add(transfers * slot, std::byte{0});
  fill_pattern(a.memory, 2);
  auto early = std::atomic<int>{0};
  // Transfer i owns slot i of both memories; its size differs from the others'.
  auto bytes_of = [](uint32_t i) { return size_t{i} * 379 % slot + 1; };
  b.log.on_arrival = [&](const fabric_log::arrival& what) {
    auto i = what.immediate;
    if (i >= transfers || !equal(part(a, i * slot, bytes_of(i)), part(b, i * slot, bytes_of(i))))
      ++early;
  };
  auto pair = join(a, b);
  for (auto i = uint32_t{0}; i < transfers; ++i) {
    auto bytes = bytes_of(i);
    auto half = bytes / 2;
    // The second half first, so that the list cannot be merged.
    a->post(write_to(i, a, pair.there, b.remote(),
                     {{i * slot + half, i * slot + half, bytes - half}, {i * slot, i * slot, half}}, i));
  }
  REQUIRE(world.pump([&] { return b.log.arrivals().size() >= transfers && a.log.completions().size() >= transfers; }));
  CHECK_EQ(early.load(), 0);
  auto seen = std::vector<int>(transfers);
  for (const auto& what : b.log.arrivals()) {
    CHECK_EQ(what.from, pair.back);
    ++seen[what.immediate];
  }
  CHECK(std::all_of(seen.begin(), seen.end(), [](int times) { return times == 1; }));
  CHECK(a.log.arrivals().empty());
}

void transfers_of_nothing_complete(fabric_world& world) {
  auto& a = world.add(KiB, std::byte{1});
  auto& b = world.add(KiB, std::byte{2});
  auto pair = join(a, b);
  a->post(write_to(1, a, pair.there, b.remote(), {}, 0xffffffff));
  a->post(write_to(2, a, pair.there, b.remote(), {{0, 0, 0}, {KiB, KiB, 0}}, 7));
  a->post(write_to(3, a, pair.there, b.remote(), {}));
  a->post(read_from(4, a, pair.there, b.remote(), {{5, 5, 0}}));
  REQUIRE(world.pump([&] { return done_once(a, 1, 4) && b.log.arrivals().size() == 2; }));
  for (auto id = 1; id <= 4; ++id)
    CHECK(a.log.result(id).ok());
  auto sum = uint64_t{0};
  for (const auto& what : b.log.arrivals())
    sum += what.immediate;
  CHECK_EQ(sum, uint64_t{0xffffffff} + 7);
  CHECK(all_are(a.memory, std::byte{1}));
  CHECK(all_are(b.memory, std::byte{2}));
}

void many_transfers_in_flight_complete_once_each(fabric_world& world) {
  constexpr auto transfers = uint64_t{2000};
  constexpr auto slot = 8 * KiB;
  auto& a = world.add(transfers * slot, std::byte{0});
  auto& b = world.add(transfers * slot, std::byte{0});
  fill_pattern(a.memory, 3);
  auto pair = join(a, b);
  for (auto i = uint64_t{0}; i < transfers; ++i)
    a->post(write_to(i, a, pair.there, b.remote(), {{i * slot, i * slot, slot}}, static_cast<uint32_t>(i)));
  REQUIRE(world.pump([&] { return a.log.completions().size() >= transfers && b.log.arrivals().size() >= transfers; }));
  CHECK(equal(a.memory, b.memory));
  auto seen = std::vector<int>(transfers);
  for (const auto& done : a.log.completions()) {
    CHECK(done.result.ok());
    CHECK_EQ(done.bytes, slot);
    ++seen[done.id];
  }
  CHECK(std::all_of(seen.begin(), seen.end(), [](int times) { return times == 1; }));
  CHECK_EQ(b.log.arrivals().size(), transfers);
}

void three_talk_all_to_all(fabric_world& world) {
  constexpr auto zone = 256 * KiB;
  constexpr auto rounds = uint32_t{8};
  // Each memory: its own zone, then one that each process writes to, then one for what it reads from each.
  fabric_side* sides[3];
  for (auto i = 0u; i < 3; ++i) {
    sides[i] = &world.add(7 * zone, std::byte{0});
    fill_pattern(part(*sides[i], 0, zone), 10 + i);
  }
  transport::peer_id peers[3][3] = {};
  for (auto i = 0; i < 3; ++i)
    for (auto j = i + 1; j < 3; ++j) {
      auto pair = join(*sides[i], *sides[j]);
      peers[i][j] = pair.there;
      peers[j][i] = pair.back;
    }
  auto id = uint64_t{0};
  for (auto round = uint32_t{0}; round < rounds; ++round)
    for (auto i = 0u; i < 3; ++i)
      for (auto j = 0u; j < 3; ++j) {
        if (i == j)
          continue;
        auto& from = *sides[i];
        from->post(write_to(++id, from, peers[i][j], sides[j]->remote(), {{0, (1 + i) * zone, zone}}, round));
        from->post(read_from(++id, from, peers[i][j], sides[j]->remote(), {{(4 + j) * zone, 0, zone}}));
      }
  REQUIRE(world.pump([&] {
    return std::all_of(std::begin(sides), std::end(sides), [&](const auto* side) {
      return side->log.completions().size() == 4 * rounds && side->log.arrivals().size() == 2 * rounds;
    });
  }));
  for (auto i = 0u; i < 3; ++i) {
    for (const auto& done : sides[i]->log.completions())
      CHECK(done.result.ok());
    for (auto j = 0u; j < 3; ++j) {
      if (i == j)
        continue;
      CHECK(equal(part(*sides[i], 0, zone), part(*sides[j], (1 + i) * zone, zone)));
      CHECK(equal(part(*sides[i], 0, zone), part(*sides[j], (4 + i) * zone, zone)));
      auto all = sides[i]->log.arrivals();
      CHECK_EQ(std::count_if(all.begin(), all.end(), [&](const auto& what) { return what.from == peers[i][j]; }),
               rounds);
    }
  }
}

void transfers_to_oneself_are_copies(fabric_world& world) {
  auto& a = world.add(8 * MiB, std::byte{0});
  fill_pattern(part(a, 0, 4 * MiB), 5);
  a->post(write_to(1, a, transport::self_peer, a.remote(), {{0, 4 * MiB, 1000}}, 1));
  a->post(write_to(2, a, transport::self_peer, a.remote(), {{1000, 4 * MiB + 1000, 3 * MiB}}, 2));
  a->post(read_from(3, a, transport::self_peer, a.remote(), {{7 * MiB + 1000, 3 * MiB + 1000, MiB - 1000}}));
  REQUIRE(world.pump([&] { return done_once(a, 1, 3) && a.log.arrivals().size() == 2; }));
  for (auto id = 1; id <= 3; ++id)
    CHECK(a.log.result(id).ok());
  CHECK(equal(part(a, 0, 4 * MiB), part(a, 4 * MiB, 4 * MiB)));
  for (const auto& what : a.log.arrivals())
    CHECK_EQ(what.from, transport::self_peer);
  CHECK_EQ(a->totals().copied_bytes, 4 * MiB);
  CHECK_EQ(a->totals().provider_bytes, 0);
  // A region that is not ours is refused here too.
  auto other = a.remote();
  other.key ^= 0x5555;
  a->post(write_to(4, a, transport::self_peer, other, {{0, 0, 16}}));
  REQUIRE(world.pump([&] { return a.log.completed_times(4) == 1; }));
  CHECK(!a.log.result(4).ok());
}

void a_post_waits_for_connect(fabric_world& world) {
  auto& a = world.add(MiB, std::byte{3});
  auto& b = world.add(MiB, std::byte{0});
  auto there = a->open_peer("b");
  auto back = b->open_peer("a");
  a->post(write_to(1, a, there, b.remote(), {{0, 0, MiB}}, 1));
  a->post(write_to(2, a, there, b.remote(), {}, 2));
  // Something else happens meanwhile.
  a->post(write_to(3, a, transport::self_peer, a.remote(), {{0, 1000, 8}}));
  REQUIRE(world.pump([&] { return a.log.completed_times(3) == 1; }));
  CHECK_EQ(a.log.completions().size(), 1);
  CHECK(all_are(b.memory, std::byte{0}));
  b->connect(back, a->local_address(there));
  a->connect(there, b->local_address(back));
  REQUIRE(world.pump([&] { return done_once(a, 1, 2) && b.log.arrivals().size() == 2; }));
  CHECK(a.log.result(1).ok());
  CHECK(all_are(b.memory, std::byte{3}));
}

void a_full_queue_refuses(fabric_world& world) {
  constexpr auto too_many = uint64_t{20000};
  auto& a = world.add(KiB, std::byte{4});
  auto& b = world.add(KiB, std::byte{0});
  auto there = a->open_peer("b");
  auto back = b->open_peer("a");
  for (auto id = uint64_t{1}; id <= too_many; ++id)
    a->post(write_to(id, a, there, b.remote(), {{0, 0, 8}}, 1));
  REQUIRE(world.pump([&] { return a.log.completed_times(too_many) == 1; }));
  auto refused = a.log.completions();
  CHECK(
    std::all_of(refused.begin(), refused.end(), [](const auto& done) { return done.result.code == errc::exhausted; }));
  auto accepted = too_many - refused.size();
  CHECK_GE(accepted, 64);
  b->connect(back, a->local_address(there));
  a->connect(there, b->local_address(back));
  REQUIRE(world.pump([&] { return b.log.arrivals().size() == accepted && a.log.completions().size() == too_many; }));
  auto all = a.log.completions();
  CHECK_EQ(std::count_if(all.begin(), all.end(), [](const auto& done) { return done.result.ok(); }), accepted);
  // There is room again.
  a->post(write_to(too_many + 1, a, there, b.remote(), {{0, 0, 8}}, 1));
  REQUIRE(world.pump([&] { return a.log.completed_times(too_many + 1) == 1; }));
  CHECK(a.log.result(too_many + 1).ok());
}

void bytes_and_failures_are_counted(fabric_world& world) {
  auto& a = world.add(MiB, std::byte{5});
  auto& b = world.add(MiB, std::byte{0});
  auto pair = join(a, b);
  a->post(write_to(1, a, pair.there, b.remote(), {{0, 0, 1000}, {5000, 5000, 24}}, 1));
  a->post(read_from(2, a, pair.there, b.remote(), {{0, 0, 500}}));
  a->post(write_to(3, a, pair.there, b.remote(), {{0, MiB, 1}}));
  REQUIRE(world.pump([&] { return done_once(a, 1, 3); }));
  auto totals = a->totals();
  CHECK_EQ(totals.provider_bytes + totals.copied_bytes, 1524);
  CHECK_EQ(totals.failed_transfers, 1);
  CHECK_EQ(b->totals().provider_bytes + b->totals().copied_bytes, 0);
}

void bad_calls_throw(fabric_world& world) {
  auto& a = world.add(KiB, std::byte{0});
  auto there = a->open_peer("b");
  CHECK_THROWS_AS(a->remote(a.region + 1000), failure);
  CHECK_THROWS_AS(a->deregister(a.region + 1000), failure);
  CHECK_THROWS_AS(a->local_address(there + 1000), failure);
  CHECK_THROWS_AS(a->connect(there + 1000, a->local_address(there)), failure);
  CHECK_THROWS_AS(a->connect(there, "nonsense"), failure);
  CHECK_THROWS_AS(a->connect(there, ""), failure);
  CHECK(!a->describe().empty());
  a->fence(there);
  CHECK_THROWS_AS(a->local_address(there), failure);
  CHECK_THROWS_AS(a->connect(there, "nonsense"), failure);
}

} // namespace perigee::testing::fabric_cases
