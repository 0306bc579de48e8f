// SPDX-License-Identifier: Apache-2.0
#include "actors/policy/route_balanced_prefix.hpp"
#include "actors/policy/route_exploit_explore.hpp"
#include "actors/policy/route_overlap_cost.hpp"
#include "actors/policy/route_power_of_two.hpp"
#include "actors/policy/route_prefix_capped.hpp"
#include "actors/policy/route_sticky.hpp"
#include "actors/policy/route_uncached_times_load.hpp"
#include "actors/policy/route_weighted.hpp"
#include "tests/actors/policy/policy_fixture.hpp"
#include "tests/support/testing.hpp"

#include <set>

using namespace perigee;
using perigee::testing::policy_fixture;

namespace {

constexpr auto second = policy_fixture::second;

} // namespace

TEST_CASE_TEMPLATE("route: a rival of ours takes an instance without telemetry for no idle one either", Policy,
                   route_balanced_prefix, route_exploit_explore, route_overlap_cost, route_power_of_two,
                   route_prefix_capped, route_sticky, route_uncached_times_load, route_weighted) {
  auto f = policy_fixture{};
  f.prefill(1, 5 * second).queued = 100;
  f.decode(0);
  auto policy = Policy{};
  for (auto i = 0; i < 5; ++i)
    CHECK_EQ(policy.decide(f.query({20, 0, 20}, 20), f.view()).chosen.prefill, 1);
  CHECK_EQ(policy.decide(f.query({20}, 20), f.view()).what, verdict::hold);
}

TEST_CASE("route_overlap_cost: blocks to compute and blocks held add up, a cached one is worth three quarters") {
  auto f = policy_fixture{};
  auto& holder = f.prefill(0);
  holder.queued_tokens = 400;
  holder.tokens = 1000;
  f.prefill(1);
  f.decode(0);
  auto decision = route_overlap_cost{}.decide(f.query({16, 0}, 16), f.view());
  REQUIRE_EQ(decision.best.size(), 2);
  CHECK_EQ(decision.best[0].prefill, 1);
  CHECK_EQ(decision.best[0].score, 20 + 20);
  CHECK_EQ(decision.best[1].score, (4 + 20 - 12) + (10 + 20));
}

TEST_CASE("route_sticky: it stays with four fifths of the prompt until that costs more than 18 s") {
  auto f = policy_fixture{};
  f.prefill(0, 19 * second);
  f.prefill(1);
  f.decode(0);
  auto chosen = [&](uint32_t own) { return route_sticky{}.decide(f.query({own, 0}, own), f.view()).chosen.prefill; };
  CHECK_EQ(chosen(15), 1);
  CHECK_EQ(chosen(16), 0); // 19 + 0.4 s against 2 + 18.
  f.loads[0].free_at_ns += second;
  CHECK_EQ(chosen(16), 1);
}

TEST_CASE("route_uncached_times_load: uncached tokens times requests in flight") {
  auto f = policy_fixture{};
  f.prefill(0).queued = 3;
  f.prefill(1);
  f.decode(0);
  CHECK_EQ(route_uncached_times_load{}.decide(f.query({16, 0}), f.view()).chosen.prefill, 0); // 400 * 4 < 2000
  CHECK_EQ(route_uncached_times_load{}.decide(f.query({14, 0}), f.view()).chosen.prefill, 1); // 600 * 4 > 2000
}

TEST_CASE("route_balanced_prefix: the prefix decides while the load is balanced and the share is large enough") {
  auto f = policy_fixture{};
  f.prefill(0).queued = 64;
  f.prefill(1);
  f.decode(0);
  auto chosen = [&](uint32_t own) {
    return route_balanced_prefix{}.decide(f.query({own, 0}, own), f.view()).chosen.prefill;
  };
  CHECK_EQ(chosen(7), 0);
  CHECK_EQ(chosen(6), 1); // Not more than 0.3 of the prompt.
  f.loads[0].queued = 65;
  CHECK_EQ(chosen(20), 1);
  f.loads[1].queued = 64;
  f.loads[0].queued = 96; // Difference and ratio must both be exceeded.
  CHECK_EQ(chosen(20), 0);
}

TEST_CASE("route_power_of_two: the holder is always among the three, the others are drawn") {
  auto f = policy_fixture{};
  for (auto i = 0u; i < 10; ++i)
    f.prefill(i, i == 7 ? 0 : second);
  f.decode(0);
  auto policy = route_power_of_two{{}, policy_random{5}};
  auto seen = std::set<uint32_t>{};
  for (auto i = 0; i < 100; ++i) {
    auto decision = policy.decide(f.query({0, 0, 0, 20, 0, 0, 0, 0, 0, 0}, 0), f.view());
    CHECK(decision.best.size() <= 3);
    CHECK(decision.best.size() >= 2);
    auto has_holder = false;
    for (const auto& offer : decision.best) {
      has_holder |= offer.prefill == 3;
      seen.insert(offer.prefill);
    }
    CHECK(has_holder);
  }
  CHECK_EQ(seen.size(), 10);
}

TEST_CASE("route_power_of_two: one instance is enough") {
  auto f = policy_fixture{};
  f.prefill(0);
  f.decode(0);
  CHECK_EQ(route_power_of_two{}.decide(f.query({0}), f.view()).what, verdict::place);
}

TEST_CASE("route_exploit_explore: most of a prompt cached keeps it with its holder, otherwise load spreads it") {
  auto f = policy_fixture{};
  f.prefill(0, 100 * second);
  f.prefill(1);
  f.decode(0);
  auto policy = route_exploit_explore{};
  for (auto i = 0; i < 2; ++i)
    CHECK_EQ(policy.decide(f.query({11, 0}, 11), f.view()).chosen.prefill, 0);
  CHECK_EQ(policy.decide(f.query({10, 0}, 10), f.view()).chosen.prefill, 1); // 1.8 s went to instance 0 before.
  f.now_ns += 181 * second; // Out of the window.
  CHECK_EQ(policy.decide(f.query({10, 0}, 10), f.view()).chosen.prefill, 0);
}

TEST_CASE("route_exploit_explore: a full cache that is often hit makes new prompts dear") {
  auto f = policy_fixture{};
  f.prefill(0);
  f.prefill(1);
  f.decode(0);
  auto policy = route_exploit_explore{};
  policy.decide(f.query({20, 0}, 20), f.view()); // All cached: no load, but a hit.
  CHECK_EQ(policy.decide(f.query({0, 0}), f.view()).chosen.prefill, 0);
  auto again = route_exploit_explore{};
  f.loads[0].cached_blocks = f.loads[0].cache_capacity;
  again.decide(f.query({20, 0}, 20), f.view());
  CHECK_EQ(again.decide(f.query({0, 0}), f.view()).chosen.prefill, 1);
}

TEST_CASE("route_prefix_capped: the longest prefix, but neither beyond the difference nor two sigma above the mean") {
  auto f = policy_fixture{};
  for (auto i = 0u; i < 8; ++i)
    f.prefill(i).queued = i == 0 ? 10 : 4;
  f.decode(0);
  auto own = std::vector<uint32_t>{20, 5, 0, 0, 0, 0, 0, 0};
  auto chosen = [&] { return route_prefix_capped{}.decide(f.query(own, 20), f.view()).chosen.prefill; };
  CHECK_EQ(chosen(), 1); // 10 > 4.75 + 2 * 1.98
  f.loads[0].queued = 4;
  CHECK_EQ(chosen(), 0);
  f.loads[1].queued = 21; // 21 - 4 > 16
  f.loads[5].queued = 3;
  CHECK_EQ(chosen(), 5);
}

TEST_CASE("route_weighted: each scorer counts by its weight, and cold prompts go round") {
  auto f = policy_fixture{};
  f.prefill(0);
  f.prefill(1);
  f.decode(0);
  auto policy = route_weighted{};
  CHECK_EQ(policy.decide(f.query({0, 20}, 20), f.view()).chosen.prefill, 1);
  f.loads[1].queued = 1;
  f.loads[1].tokens = 900'000;
  CHECK_EQ(policy.decide(f.query({0, 20}, 20), f.view()).chosen.prefill, 0); // 3 < 2 + 1.8
  f.loads[1] = f.loads[0];
  f.loads[1].who.index = 1;
  auto turns = std::vector<uint32_t>{};
  for (auto i = 0; i < 4; ++i)
    turns.push_back(policy.decide(f.query({0, 0}), f.view()).chosen.prefill);
  CHECK_EQ(turns, std::vector<uint32_t>{0, 1, 0, 1});
}
