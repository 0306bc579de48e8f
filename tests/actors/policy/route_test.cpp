// SPDX-License-Identifier: Apache-2.0
#include "actors/policy/route_kvcache_centric.hpp"
#include "actors/policy/route_least_requests.hpp"
#include "actors/policy/route_least_seconds.hpp"
#include "actors/policy/route_prefix_local.hpp"
#include "actors/policy/route_random.hpp"
#include "actors/policy/route_round_robin.hpp"
#include "tests/actors/policy/policy_fixture.hpp"
#include "tests/support/testing.hpp"

#include <algorithm>
#include <random>

using namespace perigee;
using perigee::testing::policy_fixture;

namespace {

constexpr auto second = policy_fixture::second;

} // namespace

TEST_CASE_TEMPLATE("route: ties go to the lowest index, and to the decode with the fewest reserved tokens", Policy,
                   route_kvcache_centric, route_prefix_local, route_least_seconds, route_least_requests) {
  auto f = policy_fixture{};
  f.prefill(0, second).queued = 1;
  f.prefill(1);
  f.prefill(2);
  f.decode(0, 500);
  f.decode(1, 499);
  auto decision = Policy{}.decide(f.query({0, 0, 0}), f.view());
  CHECK_EQ(decision.what, verdict::place);
  CHECK_EQ(decision.chosen.prefill, 1);
  CHECK_EQ(decision.decode, 1);
  CHECK_EQ(decision.best.size(), 3);
}

TEST_CASE_TEMPLATE("route: an instance without telemetry is not taken for an idle one", Policy, route_kvcache_centric,
                   route_prefix_local, route_least_seconds, route_least_requests, route_round_robin, route_random) {
  auto f = policy_fixture{};
  auto& busy = f.prefill(1, 5 * second);
  busy.queued = 9;
  f.decode(0);
  for (auto i = 0; i < 5; ++i)
    CHECK_EQ(Policy{}.decide(f.query({0, 0, 0}), f.view()).chosen.prefill, 1);
}

TEST_CASE_TEMPLATE("route: without a known candidate or a decode with room the request is held", Policy,
                   route_kvcache_centric, route_prefix_local, route_least_seconds, route_least_requests,
                   route_round_robin, route_random) {
  auto f = policy_fixture{};
  CHECK_EQ(Policy{}.decide(f.query({}), f.view()).what, verdict::hold);
  f.prefill(0);
  CHECK_EQ(Policy{}.decide(f.query({0}), f.view()).what, verdict::hold);
  f.decode(0);
  CHECK_EQ(Policy{}.decide(f.query({0}), f.view()).what, verdict::place);
  CHECK_EQ(Policy{}.decide(f.query({}), f.view()).what, verdict::hold);
}

TEST_CASE("route: a decode instance without telemetry comes last") {
  auto f = policy_fixture{};
  f.prefill(0);
  f.decode(1, 900);
  auto query = f.query({0});
  query.decodes = {0, 1};
  CHECK_EQ(route_least_seconds{}.decide(query, f.view()).decode, 1);
}

TEST_CASE("route_kvcache_centric: it fetches where best / own > 2, also where own = 0 < best") {
  auto f = policy_fixture{};
  f.prefill(0);
  f.decode(0);
  auto chosen = [&](uint32_t own, uint32_t best) {
    return route_kvcache_centric{}.decide(f.query({own}, best), f.view()).chosen;
  };
  CHECK_EQ(chosen(5, 10).fetch_blocks, 0);
  CHECK_EQ(chosen(5, 10).ttft_ns, policy_fixture::prefill_ns(20, 5));
  CHECK_EQ(chosen(5, 11).fetch_blocks, 6);
  CHECK_EQ(chosen(5, 11).ttft_ns, 6'000'000 + policy_fixture::prefill_ns(20, 11));
  CHECK_EQ(chosen(0, 1).fetch_blocks, 1);
  CHECK_EQ(chosen(0, 0).fetch_blocks, 0);
  CHECK_EQ(chosen(7, 3).fetch_blocks, 0); // More is being computed there than is stored anywhere.
}

TEST_CASE("route_kvcache_centric: a fetch waits behind what its source has to send already") {
  auto f = policy_fixture{};
  f.prefill(0, 3 * second);
  f.prefill(1);
  f.decode(0);
  auto query = f.query({20, 0}, 20);
  auto decision = route_kvcache_centric{}.decide(query, f.view());
  CHECK_EQ(decision.chosen.prefill, 1);
  CHECK_EQ(decision.chosen.transfer_ns, 20'000'000);
  query.source_backlog_ns = 4 * second;
  decision = route_kvcache_centric{}.decide(query, f.view());
  CHECK_EQ(decision.chosen.prefill, 0);
  CHECK_EQ(decision.chosen.ttft_ns, 3 * second);
  REQUIRE_EQ(decision.best.size(), 2);
  CHECK_EQ(decision.best[1].transfer_ns, 4 * second + 20'000'000);
  CHECK_EQ(decision.best[1].score, static_cast<double>(decision.best[1].ttft_ns));
}

TEST_CASE("route_prefix_local: queue and own prefix are weighed in time, nothing is fetched") {
  auto f = policy_fixture{};
  f.prefill(0, second);
  f.prefill(1);
  f.decode(0);
  CHECK_EQ(route_prefix_local{}.decide(f.query({11, 0}, 11), f.view()).chosen.prefill, 0);
  CHECK_EQ(route_prefix_local{}.decide(f.query({10, 0}, 10), f.view()).chosen.prefill, 0); // A tie.
  auto decision = route_prefix_local{}.decide(f.query({9, 0}, 9), f.view());
  CHECK_EQ(decision.chosen.prefill, 1);
  CHECK_EQ(decision.chosen.fetch_blocks, 0);
}

TEST_CASE("route_least_requests: it counts what is not computed yet, route_least_seconds its time") {
  auto f = policy_fixture{};
  auto& many_short = f.prefill(0, second);
  many_short.queued = 5;
  many_short.requests = 5;
  auto& one_long = f.prefill(1, 2 * second);
  one_long.queued = 1;
  one_long.requests = 40; // All but one wait for their hand-over only.
  f.decode(0);
  CHECK_EQ(route_least_requests{}.decide(f.query({0, 0}), f.view()).chosen.prefill, 1);
  CHECK_EQ(route_least_seconds{}.decide(f.query({0, 0}), f.view()).chosen.prefill, 0);
}

TEST_CASE("route_round_robin: everybody has a turn, also after one has left") {
  auto f = policy_fixture{};
  f.prefill(0);
  f.prefill(1);
  f.prefill(3);
  f.decode(0);
  auto policy = route_round_robin{};
  auto turns = std::vector<uint32_t>{};
  for (auto i = 0; i < 6; ++i)
    turns.push_back(policy.decide(f.query({0, 0, 0, 0}), f.view()).chosen.prefill);
  CHECK_EQ(turns, std::vector<uint32_t>{0, 1, 3, 0, 1, 3});
}

TEST_CASE("route_round_robin: a request that is held takes no turn") {
  auto f = policy_fixture{};
  f.prefill(0);
  f.prefill(1);
  auto policy = route_round_robin{};
  CHECK_EQ(policy.decide(f.query({0, 0}), f.view()).what, verdict::hold);
  f.decode(0);
  CHECK_EQ(policy.decide(f.query({0, 0}), f.view()).chosen.prefill, 0);
}

TEST_CASE("route_random: a seed gives the same choices, and each instance its share") {
  auto f = policy_fixture{};
  for (auto i = 0u; i < 4; ++i)
    f.prefill(i);
  f.decode(0);
  auto choices = [&](uint64_t seed) {
    auto policy = route_random{policy_random{seed}};
    auto all = std::vector<uint32_t>{};
    for (auto i = 0; i < 400; ++i)
      all.push_back(policy.decide(f.query({0, 0, 0, 0}), f.view()).chosen.prefill);
    return all;
  };
  auto first = choices(1);
  CHECK_EQ(first, choices(1));
  CHECK(first != choices(2));
  for (auto i = 0u; i < 4; ++i) {
    CHECK(std::count(first.begin(), first.end(), i) > 60);
    CHECK(std::count(first.begin(), first.end(), i) < 140);
  }
}

TEST_CASE("soonest: the least eight in order, and of equal ones the first") {
  auto random = std::mt19937_64{1};
  for (auto round = 0; round < 200; ++round) {
    auto count = random() % (round % 8 == 0 ? 3000 : 80);
    auto first = soonest{count};
    auto all = std::vector<std::pair<uint64_t, uint32_t>>{};
    for (auto place = 0u; place < count; ++place) {
      if (random() % 4 == 0)
        continue; // It never starts.
      all.emplace_back(random() % (round % 3 == 0 ? 12 : 1000), place);
      first.takes_ns(place) = all.back().first;
    }
    std::sort(all.begin(), all.end());
    all.resize(std::min(all.size(), offers_kept));
    auto kept = std::vector<uint32_t>{};
    first.each([&](uint32_t place) { kept.push_back(place); });
    REQUIRE_EQ(kept.size(), all.size());
    for (auto rank = size_t{0}; rank < kept.size(); ++rank)
      CHECK_EQ(kept[rank], all[rank].second);
  }
}

TEST_CASE("load_view: what is asked of all instances follows what is known of each") {
  auto view = load_view{};
  auto load = instance_load{};
  load.who = {role::prefill, 2, 0, 1};
  load.free_at_ns = 70;
  view.set(load);
  auto prefill = load.who;
  load.who = {role::decode, 1, 0, 1};
  load.tokens = 5;
  view.set(load);
  CHECK_EQ(view.prefill_free_at_ns(), std::vector<uint64_t>{UINT64_MAX, UINT64_MAX, 70});
  CHECK_EQ(view.decode_tokens(), std::vector<uint64_t>{UINT64_MAX, 5});
  view.erase({role::prefill, 2, 0, 9}); // Another incarnation than the one that is known.
  CHECK_EQ(view.prefill_free_at_ns()[2], 70);
  view.erase(prefill);
  view.erase(load.who);
  CHECK_EQ(view.prefill_free_at_ns()[2], UINT64_MAX);
  CHECK_EQ(view.decode_tokens()[1], UINT64_MAX);
}

TEST_CASE("best_offers: the cheapest eight are kept, in order") {
  auto f = policy_fixture{};
  for (auto i = 0u; i < 20; ++i)
    f.prefill(i, (20 - i) * second);
  f.decode(0);
  auto decision = route_least_seconds{}.decide(f.query(std::vector<uint32_t>(20)), f.view());
  REQUIRE_EQ(decision.best.size(), 8);
  for (auto i = 0u; i < 8; ++i)
    CHECK_EQ(decision.best[i].prefill, 19 - i);
}
