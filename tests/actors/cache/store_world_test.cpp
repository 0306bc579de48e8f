// SPDX-License-Identifier: Apache-2.0
#include "tests/actors/cache/store_world.hpp"
#include "tests/support/testing.hpp"

using namespace perigee;
using namespace perigee::testing;
using namespace std::chrono_literals;

namespace {

sim::link_options bad_links() {
  auto out = sim::link_options{};
  out.slow_ppm = 50'000;
  out.slow_ns_max = 100'000'000;
  out.loss_ppm = 50'000;
  out.duplicate_ppm = 50'000;
  return out;
}

sim::fabric_options bad_fabric() {
  auto out = sim::fabric_options{};
  out.bytes_per_second = 1'000'000;
  out.chunk_bytes_max = 32;
  out.arrival_jitter_ns_max = 1'000'000;
  out.break_ppm = 10'000;
  out.wedge_ppm = 10'000;
  out.fence_ns_max = 5'000'000;
  return out;
}

fake_faults hostile_fabric() {
  auto out = fake_faults{};
  out.delay_ns_max = 2'000'000;
  out.stuck_ppm = 20'000;
  out.stubborn_ppm = 300'000;
  out.lost_ppm = 20'000;
  out.refused_ppm = 20'000;
  out.late_ppm = 50'000;
  out.late_ns_max = 400'000'000;
  return out;
}

/// Returns the digest of the run, if there is to be one.
std::string run(const store_world_options& options, store_world::counters& sum) {
  auto it = store_world{options};
  it.hostile_network.set_faults(hostile_fabric());
  it.links.set_options(bad_links());
  it.network->set_options(bad_fabric());
  auto random = it.home.random("scenario");
  it.work_for(300ms);
  for (int step = 0; step < 6; ++step) {
    switch (random.below(4)) {
    case 0: it.restart(static_cast<uint32_t>(random.below(4))); break;
    case 1: it.new_term(); break;
    case 2: {
      auto a = static_cast<uint32_t>(random.below(4));
      auto b = static_cast<uint32_t>(random.below(4));
      it.network->cut(a, b);
      it.home.at(300'000'000, [&it, a, b] { it.network->heal(a, b); });
      break;
    }
    default: break;
    }
    it.work_for(400ms);
  }
  it.settle();
  sum.fetches += it.totals.fetches;
  sum.fetched_blocks += it.totals.fetched_blocks;
  sum.lent_blocks += it.totals.lent_blocks;
  sum.extended += it.totals.extended;
  sum.stored_blocks += it.totals.stored_blocks;
  sum.in_parts += it.totals.in_parts;
  sum.cancels += it.totals.cancels;
  sum.evicted += it.totals.evicted;
  sum.abandoned += it.totals.abandoned;
  return it.home.digest_hex();
}

} // namespace

TEST_CASE("store: on a kind network what is published is fetched") {
  auto it = store_world{{.seed = 1}};
  it.work_for(1s);
  it.settle();
  CHECK_GT(it.totals.fetched_blocks, 50);
  CHECK_GT(it.totals.stored_blocks, 50);
  CHECK_GT(it.totals.in_parts, 5);
  CHECK_GT(it.totals.lent_blocks, 10);
}

TEST_CASE("store: what a shard lent can be read after its end") {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    CAPTURE(seed);
    auto it = store_world{{.seed = seed}};
    it.work_for(600ms);
    it.end_shard(1);
    it.work_for(400ms);
    it.end_shard(2);
    it.work_for(400ms);
    CHECK_GT(it.totals.lent_blocks, 10);
    it.settle();
  }
}

TEST_CASE(
  "store: with loss, breaks, late writes, cuts and dying nodes every job is answered and no wrong block is used") {
  auto sum = store_world::counters{};
  for (uint64_t seed = 1; seed <= seeds(100); ++seed) {
    CAPTURE(seed);
    run({.seed = seed, .hostile = seed % 2 == 0}, sum);
  }
  CHECK_GT(sum.fetched_blocks, 0);
  CHECK_GT(sum.stored_blocks, 0);
  CHECK_GT(sum.in_parts, 0);
  CHECK_GT(sum.lent_blocks, 0);
  if (seeds(100) < 100)
    return;
  // Rare things happened too.
  CHECK_GT(sum.cancels, 0);
  CHECK_GT(sum.evicted, 0);
  CHECK_GT(sum.extended, 0);
  CHECK_GT(sum.abandoned, 0);
}

TEST_CASE("store: the same seed gives the same run") {
  auto sum = store_world::counters{};
  auto seventh = run({.seed = 7, .digest = true}, sum);
  CHECK_EQ(run({.seed = 7, .digest = true}, sum), seventh);
  CHECK_NE(run({.seed = 8, .digest = true}, sum), seventh);
}
