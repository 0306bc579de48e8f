// SPDX-License-Identifier: Apache-2.0
#include "actors/policy/route_central.hpp"
#include "actors/policy/route_fair.hpp"
#include "actors/policy/route_perigee.hpp"
#include "tests/actors/policy/policy_fixture.hpp"
#include "tests/support/testing.hpp"

using namespace perigee;
using perigee::testing::policy_fixture;

namespace {

constexpr auto second = policy_fixture::second;

/// Two prefill instances, of which `busy` work on one request each for two more seconds.
policy_fixture pair_of(int busy) {
  auto f = policy_fixture{};
  for (auto i = 0u; i < 2; ++i) {
    auto working = static_cast<int>(i) < busy;
    f.prefill(i, working ? 2 * second : 0).queued = working;
  }
  f.decode(0);
  return f;
}

} // namespace

TEST_CASE_TEMPLATE("late binding: a request is placed at a free instance, and held while there is none", Policy,
                   route_central, route_perigee, route_fair) {
  auto one_free = pair_of(1);
  auto decision = Policy{}.decide(one_free.query({20, 0}, 20), one_free.view());
  CHECK_EQ(decision.what, verdict::place);
  CHECK_EQ(decision.chosen.prefill, 1);
  CHECK_EQ(decision.chosen.fetch_blocks, 20);
  auto none_free = pair_of(2);
  CHECK_EQ(Policy{}.decide(none_free.query({20, 0}, 20), none_free.view()).what, verdict::hold);
}

TEST_CASE_TEMPLATE("late binding: of free instances the one takes it that needs least time for it", Policy,
                   route_central, route_perigee, route_fair) {
  auto f = pair_of(0);
  CHECK_EQ(Policy{}.decide(f.query({0, 20}, 20), f.view()).chosen.prefill, 1);
  auto costly = f.query({0, 10}, 20);
  costly.transfer_ns_block = second; // Too slow a network: computing from the own prefix is faster.
  auto decision = Policy{}.decide(costly, f.view());
  CHECK_EQ(decision.chosen.prefill, 1);
  CHECK_EQ(decision.chosen.fetch_blocks, 0);
}

TEST_CASE_TEMPLATE(
  "late binding: with a lookahead, who is overdue is taken for free, as news is late; but not for long", Policy,
  route_central, route_perigee) {
  auto f = pair_of(2);
  auto policy = Policy{};
  policy.lookahead_s = 0.05;
  auto overdue = [&](uint64_t by_ns) {
    for (auto& load : f.loads)
      load.free_at_ns = f.now_ns - by_ns;
    return policy.decide(f.query({0, 0}), f.view()).what;
  };
  CHECK_EQ(overdue(second), verdict::place);
  CHECK_EQ(overdue(2 * second), verdict::hold);
  policy.lookahead_s = 0;
  CHECK_EQ(overdue(second), verdict::hold);
}

TEST_CASE_TEMPLATE("late binding: who arrives while others are held goes by the order, not before them", Policy,
                   route_central, route_perigee) {
  auto f = pair_of(1);
  auto busy = pair_of(2);
  auto short_one = Policy{}.decide(busy.query({0, 0}, 0, 5), busy.view()).sort_key;
  auto long_one = Policy{}.decide(busy.query({0, 0}, 0, 50), busy.view()).sort_key;
  CHECK(short_one < long_one);
  auto query = f.query({0, 0}, 0, 20);
  query.held = 1;
  query.held_key = short_one;
  CHECK_EQ(Policy{}.decide(query, f.view()).what, verdict::hold);
  query.held_key = long_one;
  CHECK_EQ(Policy{}.decide(query, f.view()).what, verdict::place);
}

TEST_CASE_TEMPLATE("late binding: with a lookahead an instance takes the next before it is free, but not a third",
                   Policy, route_central, route_perigee) {
  auto f = pair_of(2);
  auto policy = Policy{};
  policy.lookahead_s = 1;
  auto held = policy.decide(f.query({0, 0}), f.view());
  CHECK_EQ(held.what, verdict::hold);
  CHECK_EQ(held.ask_again_ns, f.now_ns + second);
  f.now_ns += second;
  CHECK_EQ(policy.decide(f.query({0, 0}), f.view()).what, verdict::place);
  for (auto& load : f.loads) {
    load.queued *= 2;
    load.free_at_ns += 2 * second;
  }
  CHECK_EQ(policy.decide(f.query({0, 0}), f.view()).what, verdict::hold);
}

TEST_CASE("route_central: shortest first, but urgent ones before and late ones last, and it asks again in between") {
  auto f = pair_of(2);
  auto policy = route_central{};
  auto query = f.query({0, 0}, 0, 50); // 5 s of computing: to begin within 25 s.
  auto arrived = query.arrived_ns;
  auto at = [&](uint64_t now_ns) {
    query.now_ns = now_ns;
    return policy.decide(query, f.view());
  };
  auto fresh = at(arrived);
  CHECK_EQ(fresh.ask_again_ns, arrived + 22 * second);
  auto urgent = at(arrived + 22 * second);
  CHECK(urgent.sort_key < policy.decide(f.query({0, 0}, 0, 1), f.view()).sort_key);
  CHECK_EQ(urgent.ask_again_ns, arrived + 25 * second + 1);
  auto late = at(arrived + 25 * second + 1);
  CHECK(late.sort_key > fresh.sort_key);
  CHECK_EQ(late.ask_again_ns, 0);
}

TEST_CASE("route_perigee: what can no longer keep its promise is refused, unless it was accepted before") {
  auto f = pair_of(2);
  auto query = f.query({0, 0}, 0, 50);
  query.now_ns += 25 * second;
  CHECK_EQ(route_perigee{}.decide(query, f.view()).what, verdict::hold);
  query.now_ns += 1;
  auto decision = route_perigee{}.decide(query, f.view());
  CHECK_EQ(decision.what, verdict::reject);
  CHECK_EQ(decision.reason, ec::overloaded);
  query.refusable = false;
  decision = route_perigee{}.decide(query, f.view());
  CHECK_EQ(decision.what, verdict::hold);
  CHECK_EQ(decision.ask_again_ns, 0);
  auto shortest = f.query({0, 0}, 0, 1);
  CHECK(decision.sort_key < route_perigee{}.decide(shortest, f.view()).sort_key); // Others must not starve it.
}

TEST_CASE("route_perigee: where prefill times are mispredicted a request is late the earlier for it") {
  auto f = pair_of(2);
  auto query = f.query({0, 0}, 0, 50);
  query.prefill_error = 0.2;
  query.now_ns += 235 * second / 10; // 30 - 5 * (1 + 1.5 * 0.2)
  auto policy = route_perigee{};
  policy.caution = 1.5;
  CHECK_EQ(policy.decide(query, f.view()).what, verdict::hold);
  query.now_ns += 1'000;
  CHECK_EQ(policy.decide(query, f.view()).what, verdict::reject);
}

TEST_CASE("route_perigee: a device that decodes computes no prompt") {
  auto f = policy_fixture{};
  for (auto i = 0u; i < 2; ++i) {
    f.prefill(i).twin = i + 1;
    f.loads.back().spare = i == 0;
  }
  for (auto i = 0u; i < 2; ++i) {
    f.decode(i).twin = i + 1;
    f.loads.back().spare = i == 1;
  }
  auto decision = route_perigee{}.decide(f.query({20, 0}, 20), f.view());
  CHECK_EQ(decision.what, verdict::place);
  CHECK_EQ(decision.chosen.prefill, 1);
  CHECK_EQ(decision.decode, 0);
}

TEST_CASE("route_perigee: an urgent request is rushed, a heavy one only while the backlog is small") {
  auto f = pair_of(2);
  auto policy = route_perigee{};
  policy.backlog_s = 13;
  policy.heavy_s = 3;
  auto urgent = [&](uint32_t blocks, uint64_t held_ns, uint64_t left_ns = second) {
    auto query = f.query({0, 0}, 0, blocks);
    query.now_ns += 30 * second - query.prefill_best_ns - left_ns;
    query.held_ns = held_ns;
    return policy.decide(query, f.view());
  };
  auto calm = [&](uint32_t blocks) { return route_perigee{}.decide(f.query({0, 0}, 0, blocks), f.view()).sort_key; };
  CHECK_EQ(urgent(50, 0).what, verdict::hold);
  CHECK(urgent(50, 0).sort_key < calm(1));
  CHECK(urgent(50, 20 * second).sort_key < calm(1)); // (20 + 5) / 2 instances
  CHECK(urgent(20, 22 * second).sort_key < calm(1)); // Not heavy.
  auto heavy = urgent(50, 22 * second); // Above 13 s each: it stands where it stood, as long as it can still be served.
  CHECK_EQ(heavy.what, verdict::hold);
  CHECK_EQ(heavy.sort_key, calm(50));
  CHECK_EQ(heavy.ask_again_ns,
           f.query({0, 0}, 0, 50).now_ns + 30 * second - f.query({0, 0}, 0, 50).prefill_best_ns + 1);
  auto late = f.query({0, 0}, 0, 50);
  late.now_ns = heavy.ask_again_ns;
  CHECK_EQ(policy.decide(late, f.view()).what, verdict::reject);
}

TEST_CASE("route_perigee: a prompt that instances may share has to begin later") {
  auto f = pair_of(2);
  auto policy = route_perigee{};
  policy.shared_share = 0.25;
  auto ask = [&](uint32_t cached, uint32_t shared_min, uint64_t left_ns) {
    auto query = f.query({cached, 0}, cached, 50);
    query.shared_tokens_min = shared_min;
    query.now_ns += 30 * second - query.prefill_best_ns + left_ns;
    return policy.decide(query, f.view()).what;
  };
  auto block = f.query({0, 0}, 0).block_tokens;
  CHECK_EQ(ask(0, 0, second), verdict::reject); // A second too late for one instance.
  CHECK_EQ(ask(0, 50 * block, second), verdict::hold);
  CHECK_EQ(ask(0, 51 * block, second), verdict::reject);
  CHECK_EQ(ask(1, 50 * block, second), verdict::reject); // What is cached does not count.
  auto whole = f.query({0, 0}, 0, 50).prefill_best_ns;
  CHECK_EQ(ask(0, 50 * block, whole * 3 / 4 - second), verdict::hold);
  CHECK_EQ(ask(0, 50 * block, whole * 3 / 4 + second), verdict::reject);
}

TEST_CASE("route_perigee: a prefix that a busy instance is computing is waited for there, unless computing it again is "
          "faster") {
  auto f =
    pair_of(1); // Instance 0 is busy for two more seconds, and will then have 19 of 20 blocks; 1 is free and has none.
  auto chosen = [&](uint64_t busy_ns) {
    f.loads.front().free_at_ns = f.now_ns + busy_ns;
    return route_perigee{}.decide(f.query({19, 0}), f.view()).chosen.prefill;
  };
  CHECK_EQ(chosen(2 * second), 0); // 2 + 0.1 s there, 2 s elsewhere, of which 1.9 would be saved
  CHECK_EQ(chosen(38 * second / 10), 0);
  CHECK_EQ(chosen(39 * second / 10), 1);
}

TEST_CASE("route_perigee: what is being computed counts in the order of those that are held") {
  auto f = pair_of(2);
  f.loads.front().free_at_ns = f.loads.back().free_at_ns = f.now_ns + 20 * second;
  auto sibling = route_perigee{}.decide(f.query({19, 0}), f.view());
  CHECK_EQ(sibling.what, verdict::hold);
  CHECK(sibling.sort_key < route_perigee{}.decide(f.query({0, 0}, 0, 2), f.view()).sort_key);
}

TEST_CASE("route_perigee: of instances that should be free the one goes first that is for certain, then the one "
          "longest overdue") {
  auto f = policy_fixture{};
  for (auto i = 0u; i < 3; ++i)
    f.prefill(i).queued = 1;
  f.decode(0);
  f.loads[0].free_at_ns = f.now_ns - second / 100;
  f.loads[1].free_at_ns = f.now_ns - second / 20;
  f.loads[2].queued = 0;
  auto chosen = [&] { return route_perigee{}.decide(f.query({0, 0, 0}), f.view()).chosen.prefill; };
  CHECK_EQ(chosen(), 2);
  f.loads[2].queued = 1;
  f.loads[2].free_at_ns = f.now_ns + second;
  CHECK_EQ(chosen(), 1);
}

TEST_CASE("route_perigee: where news comes late an instance takes the next the earlier for it") {
  auto f = policy_fixture{};
  f.prefill(0);
  f.decode(0);
  auto& load = f.loads.front();
  auto policy = route_perigee{};
  auto places = [&](uint64_t before_ns) {
    load.queued = 1;
    load.free_at_ns = f.now_ns + before_ns;
    return policy.decide(f.query({0}), f.view()).what == verdict::place;
  };
  CHECK_FALSE(places(second / 4));
  for (auto i = 0; i < 20; ++i) {
    load.queued = 0;
    load.free_at_ns = f.now_ns;
    CHECK_EQ(policy.decide(f.query({0}), f.view()).what, verdict::place); // It takes two seconds,
    load.queued = 1;
    load.free_at_ns = f.now_ns + 60 * second; // (nothing else is placed there meanwhile)
    for (auto ms = 0; ms < 2400; ms += 10) {  // and is heard of after 2.4.
      f.now_ns += second / 100;
      CHECK_EQ(policy.decide(f.query({0}), f.view()).what, verdict::hold);
    }
  }
  CHECK(places(second / 4));
  CHECK_FALSE(places(second));
}

TEST_CASE("route_fair: a tenant that asks for much waits behind one that asks for little") {
  auto f = pair_of(2);
  auto policy = route_fair{};
  auto key = [&](const char* tenant, uint32_t blocks) {
    auto query = f.query({0, 0}, 0, blocks);
    query.tenant = tenant;
    query.expected_output = 100;
    return policy.decide(query, f.view()).sort_key;
  };
  auto first = key("flood", 20);
  auto second_of_flood = key("flood", 20);
  CHECK_EQ(first, 0);
  CHECK_EQ(second_of_flood, 2000 + 2 * 100 + 1);
  CHECK(key("small", 1) < second_of_flood);
}

TEST_CASE("route_fair: a tenant that was away neither pays for before nor has saved up") {
  auto busy = pair_of(2);
  auto idle = pair_of(0);
  auto policy = route_fair{};
  auto ask = [&](const char* tenant, const policy_fixture& f) {
    auto query = f.query({0, 0});
    query.tenant = tenant;
    return policy.decide(query, f.view());
  };
  for (auto i = 0; i < 5; ++i)
    CHECK_EQ(ask("early", idle).what, verdict::place);
  auto newcomer = ask("newcomer", busy).sort_key;
  auto next_of_early = ask("early", busy).sort_key;
  CHECK(newcomer < next_of_early);
  CHECK(newcomer >= 4 * 2000); // Where the others are by now.
}

TEST_CASE("route_fair: a held request keeps its key") {
  auto f = pair_of(2);
  auto policy = route_fair{};
  auto query = f.query({0, 0});
  policy.decide(query, f.view());
  auto key = policy.decide(query, f.view()).sort_key;
  query.fresh = false;
  query.sort_key = key;
  CHECK_EQ(policy.decide(query, f.view()).sort_key, key);
}
