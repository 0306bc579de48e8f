// SPDX-License-Identifier: Apache-2.0
#include "tests/actors/transfer/transport_cluster.hpp"
#include "tests/support/testing.hpp"

#include <map>
#include <set>

using namespace perigee;
using namespace perigee::testing;

namespace {

errc outcome_of(const transport_cluster::node& node, uint64_t id) {
  auto found = std::vector<errc>{};
  for (const auto& it : node.moves)
    if (it.id == id)
      found.push_back(it.outcome.code);
  REQUIRE_EQ(found.size(), 1);
  return found.front();
}

} // namespace

TEST_CASE("transport_core: a write waits for the pairing, lands, and its immediate reaches the client of its lane") {
  auto it = transport_cluster{1};
  auto lane = it.nodes[1].core->attach(some_client).value();
  CHECK_EQ(it.nodes[1].core->attach(some_client).value(), lane);
  it.nodes[0].memory[16] = std::byte{42};
  auto work = it.job(1, 0, 1, 16);
  work.immediate = make_immediate(lane, 5, 6);
  it.move(0, work);
  CHECK(it.nodes[0].moves.empty());
  it.run_for(100 * ms);
  CHECK(outcome_of(it.nodes[0], 1) == errc::none);
  CHECK_EQ(it.nodes[0].moves[0].bytes, 8);
  CHECK(it.nodes[1].memory[16] == std::byte{42});
  CHECK(it.nodes[1].arrivals == std::vector<uint32_t>{*work.immediate});
}

TEST_CASE("transport_core: an immediate of a lane that nobody has is dropped") {
  auto it = transport_cluster{1};
  auto work = it.job(1, 0, 1);
  work.immediate = make_immediate(3, 0, 0);
  it.move(0, work);
  it.run_for(100 * ms);
  CHECK(outcome_of(it.nodes[0], 1) == errc::none);
  CHECK(it.nodes[1].arrivals.empty());
}

TEST_CASE("transport_core: there are 64 lanes, and a client that ends gives its lane back") {
  auto it = transport_cluster{1, 1};
  auto& core = *it.nodes[0].core;
  for (transport_client client = 1; client <= 64; ++client)
    CHECK_EQ(core.attach(client).value(), client - 1);
  CHECK_FALSE(core.attach(65).has_value());
  core.client_gone(10, it.time.now());
  CHECK_EQ(core.attach(65).value(), 9);
}

TEST_CASE("transport_core: a transfer to the own node needs no link") {
  auto it = transport_cluster{1, 1};
  it.nodes[0].memory[8] = std::byte{7};
  auto work = it.job(1, 0, 0, 0);
  work.pieces = {{8, 64, 8}};
  it.move(0, work);
  it.run_for(10 * ms);
  CHECK(outcome_of(it.nodes[0], 1) == errc::none);
  CHECK(it.nodes[0].memory[64] == std::byte{7});
}

TEST_CASE("transport_core: no more bytes than the limit are in flight, one larger transfer goes alone") {
  auto limits = transport_limits{};
  limits.bytes_in_flight_max = 24;
  auto it = transport_cluster{1, 2, 4096, limits};
  it.run_for(50 * ms);
  it.net.set_faults({.delay_ns_max = 50 * ms});
  it.move(0, it.job(1, 0, 1, 0, 100));
  for (uint64_t id = 2; id <= 9; ++id)
    it.move(0, it.job(id, 0, 1, 8 * id));
  CHECK_EQ(it.nodes[0].core->counters().in_flight, 1);
  while (it.nodes[0].moves.empty())
    it.run_for(5 * ms);
  CHECK_EQ(it.nodes[0].core->counters().in_flight, 3);
  it.run_for(1000 * ms);
  CHECK_EQ(it.nodes[0].moves.size(), 9);
  for (const auto& end : it.nodes[0].moves)
    CHECK(end.outcome.ok());
}

TEST_CASE("transport_core: what the queue has no room for is refused as exhausted") {
  auto limits = transport_limits{};
  limits.queued_max = 2;
  auto it = transport_cluster{1, 2, 4096, limits};
  for (uint64_t id = 1; id <= 3; ++id)
    it.move(0, it.job(id, 0, 1));
  CHECK(outcome_of(it.nodes[0], 3) == errc::exhausted);
  it.run_for(100 * ms);
  CHECK(outcome_of(it.nodes[0], 1) == errc::none);
  CHECK(outcome_of(it.nodes[0], 2) == errc::none);
}

TEST_CASE("transport_core: a transfer that cannot start within its deadline ends as exhausted") {
  auto it = transport_cluster{1};
  it.loss_ppm = 1'000'000;
  it.time.run_for(10 * ms);
  it.restart(1); // now neither hears of the other's new endpoint
  auto work = it.job(1, 0, 1);
  work.deadline_ns = 50 * ms;
  it.move(0, work);
  it.run_for(40 * ms);
  CHECK(it.nodes[0].moves.empty());
  it.run_for(20 * ms);
  CHECK(outcome_of(it.nodes[0], 1) == errc::exhausted);
}

TEST_CASE("transport_core: a read that hangs is cancelled at its deadline") {
  auto it = transport_cluster{1};
  it.run_for(50 * ms);
  it.net.set_faults({.stuck_ppm = 1'000'000});
  auto work = it.job(1, 0, 1);
  work.op = transport::direction::read;
  work.deadline_ns = 50 * ms;
  it.move(0, work);
  it.run_for(70 * ms);
  CHECK(outcome_of(it.nodes[0], 1) == errc::timed_out);
  CHECK_EQ(it.nodes[0].core->counters().fences, 0);
}

TEST_CASE("transport_core: a transfer that does not even cancel costs its peer the link, and others go on afterwards") {
  for (auto op : {transport::direction::read, transport::direction::write}) {
    auto it = transport_cluster{1};
    it.run_for(50 * ms);
    it.net.set_faults({.stuck_ppm = 1'000'000, .stubborn_ppm = 1'000'000});
    auto work = it.job(1, 0, 1);
    work.op = op;
    work.deadline_ns = 50 * ms;
    it.move(0, work);
    it.run_for(150 * ms);
    CHECK(it.nodes[0].moves.empty());
    it.run_for(200 * ms);
    // The other side fenced too, so nothing of the write can land any more.
    CHECK(outcome_of(it.nodes[0], 1) == (op == transport::direction::read ? errc::peer_lost : errc::cancelled));
    CHECK_EQ(it.nodes[0].core->counters().fences, 1);
    CHECK_EQ(it.nodes[1].core->counters().fences, 1);
    it.net.set_faults({});
    it.move(0, it.job(2, 0, 1));
    it.move(1, it.job(3, 1, 0));
    it.run_for(100 * ms);
    CHECK(outcome_of(it.nodes[0], 2) == errc::none);
    CHECK(outcome_of(it.nodes[1], 3) == errc::none);
  }
}

TEST_CASE("transport_core: a failed write is reported as timed out if the other side confirms nothing") {
  auto it = transport_cluster{1};
  it.run_for(50 * ms);
  it.net.set_faults({.refused_ppm = 1'000'000});
  it.loss_ppm = 1'000'000;
  it.move(0, it.job(1, 0, 1));
  it.run_for(150 * ms);
  CHECK(it.nodes[0].moves.empty());
  it.run_for(100 * ms);
  CHECK(outcome_of(it.nodes[0], 1) == errc::timed_out);
}

TEST_CASE("transport_core: a cancelled transfer ends once; a posted write ends as it would have") {
  auto it = transport_cluster{1};
  auto queued = it.job(1, 0, 1);
  it.move(0, queued);
  it.nodes[0].core->cancel(some_client, 1, it.time.now());
  it.flush();
  CHECK(outcome_of(it.nodes[0], 1) == errc::cancelled);
  it.run_for(50 * ms);
  auto read = it.job(2, 0, 1);
  read.op = transport::direction::read;
  it.net.set_faults({.stuck_ppm = 1'000'000});
  it.move(0, read);
  it.nodes[0].core->cancel(some_client, 2, it.time.now());
  it.net.set_faults({});
  it.move(0, it.job(3, 0, 1));
  it.nodes[0].core->cancel(some_client, 3, it.time.now());
  it.nodes[0].core->cancel(some_client, 99, it.time.now());
  it.run_for(50 * ms);
  CHECK(outcome_of(it.nodes[0], 2) == errc::cancelled);
  CHECK(outcome_of(it.nodes[0], 3) == errc::none);
  CHECK_EQ(it.nodes[0].moves.size(), 3);
}

TEST_CASE("transport_core: a dead node loses its transfers, and nothing goes to its successor") {
  auto it = transport_cluster{1};
  it.run_for(50 * ms);
  it.net.set_faults({.stuck_ppm = 1'000'000});
  auto work = it.job(1, 0, 1);
  auto later = it.job(2, 0, 1);
  it.move(0, work);
  it.restart(1);
  it.move(0, later);
  CHECK(outcome_of(it.nodes[0], 2) == errc::peer_lost);
  it.run_for(50 * ms);
  CHECK(outcome_of(it.nodes[0], 1) == errc::peer_lost);
  it.net.set_faults({});
  it.move(0, it.job(3, 0, 1));
  it.run_for(100 * ms);
  CHECK(outcome_of(it.nodes[0], 3) == errc::none);
}

TEST_CASE("transport_core: a fence is answered always: known nodes, unknown nodes, the own node") {
  auto it = transport_cluster{1};
  it.run_for(50 * ms);
  auto& core = *it.nodes[0].core;
  core.fence(some_client, {1, it.owner_of(1)}, it.time.now());
  core.fence(some_client, {2, {role::shard, 9, 9, 1}}, it.time.now());
  it.flush();
  CHECK(it.nodes[0].fences == std::vector<uint64_t>{2});
  it.run_for(50 * ms);
  CHECK(it.nodes[0].fences == std::vector<uint64_t>{2, 1});
  it.move(0, it.job(1, 0, 0));
  core.fence(some_client, {3, it.owner_of(0)}, it.time.now());
  it.flush();
  CHECK_EQ(it.nodes[0].fences.size(), 2);
  it.run_for(50 * ms);
  CHECK_EQ(it.nodes[0].fences.back(), 3);
}

TEST_CASE("transport_core: two open transfers of one client must differ in their numbers") {
  auto it = transport_cluster{1};
  it.move(0, it.job(1, 0, 1));
  it.move(0, it.job(1, 0, 1));
  CHECK(outcome_of(it.nodes[0], 1) == errc::invalid_argument);
  it.run_for(100 * ms);
  CHECK_EQ(it.nodes[0].moves.size(), 2);
}

TEST_CASE("transport_core: on a bad network every transfer ends once, in time, and what it proves is true") {
  auto totals = std::map<errc, uint64_t>{};
  auto fences = uint64_t{0};
  auto late_landings = uint64_t{0};
  for (uint64_t seed = 1; seed <= seeds(60); ++seed) {
    CAPTURE(seed);
    constexpr uint32_t size = 3;
    constexpr uint64_t slots = 2000;
    auto limits = transport_limits{};
    limits.bytes_in_flight_max = 64;
    limits.queued_max = 20;
    auto it = transport_cluster{seed, size, 8 * slots, limits};
    it.loss_ppm = 100'000;
    it.delay_ns_max = 20 * ms;
    it.net.set_faults({.delay_ns_max = 2 * ms,
                       .stuck_ppm = 20'000,
                       .stubborn_ppm = 300'000,
                       .lost_ppm = 20'000,
                       .refused_ppm = 20'000,
                       .late_ppm = 50'000,
                       .late_ns_max = 600 * ms});
    // Write number n goes to offset 8 n of its target, and nothing else does.
    struct write {
      uint32_t from = 0;
      uint32_t to = 0;
      uint64_t incarnation = 0;
      uint64_t order = 0;
      bool over = false;
    };
    auto writes = std::map<uint64_t, write>{};
    auto open = std::map<uint32_t, std::set<uint64_t>>{};
    auto fenced_before = std::map<std::pair<uint32_t, uint32_t>, uint64_t>{}; // (target, writer): order of the fence
    auto asked = std::map<uint64_t, std::pair<std::pair<uint32_t, uint32_t>, uint64_t>>{};
    auto order = uint64_t{0};
    auto next_id = uint64_t{0};
    it.net.on_landing = [&](const fake_network::landing& what) {
      const auto& work = writes.at(what.offset / 8);
      REQUIRE_FALSE(work.over);
      REQUIRE_GT(work.order, (fenced_before[{what.node, work.from}]));
    };
    it.on_output = [&](transport_cluster::node& at, const transport_output::to_client& what) {
      if (auto* end = std::get_if<moved>(&what.message)) {
        REQUIRE_EQ(open[at.number].erase(end->id), 1);
        ++totals[end->outcome.code];
        auto unproven =
          end->outcome.ok() || end->outcome.code == errc::timed_out || end->outcome.code == errc::peer_lost;
        if (auto found = writes.find(end->id); found != writes.end())
          found->second.over = !unproven;
      } else if (auto* fence = std::get_if<node_fenced>(&what.message)) {
        ++fences;
        auto [pair, when] = asked.at(fence->id);
        fenced_before[pair] = std::max(fenced_before[pair], when);
        asked.erase(fence->id);
      }
    };
    for (int step = 0; step < 300; ++step) {
      auto from = static_cast<uint32_t>(it.random.below(size));
      auto to = static_cast<uint32_t>(it.random.below(size));
      auto& core = *it.nodes[from].core;
      switch (it.random.below(40)) {
      case 0:
        if (it.random.below(4) == 0) {
          open[from].clear();
          std::erase_if(asked, [&](const auto& entry) { return entry.second.first.first == from; });
          it.restart(from);
        }
        break;
      case 1:
      case 2: {
        auto id = ++next_id;
        asked[id] = {{from, to}, order};
        core.fence(some_client, {id, it.owner_of(to)}, it.time.now());
        break;
      }
      case 3:
      case 4:
        if (!open[from].empty())
          core.cancel(some_client, *open[from].begin(), it.time.now());
        break;
      default: {
        auto id = ++next_id;
        if (id >= slots)
          break;
        auto work = it.job(id, from, to, 8 * id);
        work.deadline_ns = (50 + it.random.below(150)) * ms;
        if (it.random.below(2) == 0)
          work.op = transport::direction::read;
        else
          writes[id] = {from, to, it.nodes[from].incarnation, ++order, false};
        open[from].insert(id);
        core.move(some_client, work, it.time.now());
      }
      }
      it.flush();
      if (it.random.below(3) == 0)
        it.run_for(it.random.below(10) * ms);
    }
    it.run_for(1500 * ms);
    for (const auto& [node, ids] : open)
      CHECK(ids.empty());
    CHECK(asked.empty());
    late_landings += it.net.totals().landed_after_end;
    // After all that, the links work.
    it.loss_ppm = 0;
    it.net.set_faults({});
    it.run_for(500 * ms);
    for (uint32_t from = 0; from < size; ++from) {
      auto id = ++next_id + slots;
      auto work = it.job(id, from, (from + 1) % size);
      work.op = transport::direction::read;
      open[from].insert(id);
      it.move(from, work);
      it.run_for(100 * ms);
      CHECK(outcome_of(it.nodes[from], id) == errc::none);
    }
  }
  if (seeds(60) < 60)
    return;
  // The runs were as bad as they were meant to be.
  for (auto code : {errc::none, errc::exhausted, errc::cancelled, errc::timed_out, errc::peer_lost, errc::io_error})
    CHECK_GT(totals[code], 0);
  CHECK_GT(fences, 0);
  CHECK_GT(late_landings, 0);
}
