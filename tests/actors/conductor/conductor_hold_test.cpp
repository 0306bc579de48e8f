// SPDX-License-Identifier: Apache-2.0
#include "tests/actors/conductor/conductor_fixture.hpp"
#include "tests/support/testing.hpp"

using namespace perigee;
using fixture = perigee::testing::conductor_fixture;
using perigee::testing::ms;

namespace {

/// One job at a time on each instance; the shortest prompt waits in front.
route_decision late_binding(const route_query& query, const load_view& view) {
  auto decision = route_kvcache_centric{}.decide(query, view);
  auto* load = view.find(role::prefill, decision.chosen.prefill);
  if (decision.what == verdict::place && load->queued > 0)
    decision.what = verdict::hold;
  decision.sort_key = query.prompt_tokens;
  return decision;
}

std::vector<uint64_t> placed_numbers(fixture& f) {
  auto numbers = std::vector<uint64_t>{};
  for (const auto& answer : f.sent<placed>())
    numbers.push_back(answer.id.request.number);
  return numbers;
}

} // namespace

TEST_CASE("conductor_core: held requests are placed in the order of their keys, one whenever an instance is free") {
  auto f = fixture{};
  auto p = f.up(role::prefill, 0);
  f.up(role::decode, 0);
  f.policy = late_binding;
  auto first = f.submit(1, 500);
  f.submit(2, 900);
  f.submit(3, 300);
  auto fourth = f.submit(4, 600);
  CHECK_EQ(placed_numbers(f), std::vector<uint64_t>{1});
  f.asked.clear();
  f.report_computed(p, first);
  f.decide();
  CHECK_EQ(placed_numbers(f), std::vector<uint64_t>{1, 3});
  CHECK_EQ(f.asked.size(), 2); // The one that was placed, and the next, which was not.
  f.decide();
  CHECK_EQ(f.asked.size(), 2);
  f.core.on(f.now, withdraw{f.session, fourth, ec::cancelled});
  f.report_computed(p, {{f.session.incarnation, 3}, 0});
  f.decide();
  CHECK_EQ(placed_numbers(f), std::vector<uint64_t>{1, 3, 2});
  CHECK_EQ(f.core.status(f.now).waiting, 0);
}

TEST_CASE("conductor_core: a held request is asked about again at the time it named, wherever it stands") {
  auto f = fixture{};
  f.up(role::prefill, 0);
  f.up(role::decode, 0);
  auto seen = std::vector<uint32_t>{};
  f.policy = [&](const route_query& query, const load_view&) {
    seen.push_back(query.prompt_tokens);
    auto decision = route_decision{};
    decision.sort_key = query.prompt_tokens;
    decision.ask_again_ns = query.fresh && query.prompt_tokens == 900 ? query.now_ns + 30 * ms : query.now_ns + 5000 * ms;
    return decision;
  };
  f.submit(1, 300);
  f.submit(2, 900);
  seen.clear();
  f.now += 29 * ms;
  f.decide();
  CHECK(seen.empty());
  f.now += ms;
  f.decide();
  CHECK_EQ(seen, std::vector<uint32_t>{900});
  f.now += 100 * ms; // Whatever happens, the first is not forgotten.
  f.decide();
  CHECK_EQ(seen, std::vector<uint32_t>{900, 300});
}

TEST_CASE("conductor_core: a query tells of those that are held, and whether it is the first about its request") {
  auto f = fixture{};
  auto p = f.up(role::prefill, 0);
  f.up(role::decode, 0);
  auto queries = std::vector<route_query>{};
  f.policy = [&](const route_query& query, const load_view& view) {
    queries.push_back(query);
    return late_binding(query, view);
  };
  auto first = f.submit(1, 500);
  f.submit(2, 900);
  f.submit(3, 400);
  REQUIRE_EQ(queries.size(), 3);
  CHECK_EQ(queries[1].held, 0);
  CHECK_EQ(queries[2].held, 1);
  CHECK_EQ(queries[2].held_key, 900);
  CHECK(queries[2].fresh);
  f.now += 7 * ms;
  f.report_computed(p, first);
  f.decide();
  REQUIRE_EQ(queries.size(), 5);
  CHECK_FALSE(queries[3].fresh);
  CHECK_EQ(queries[3].prompt_tokens, 400);
  CHECK_EQ(queries[3].now_ns - queries[3].arrived_ns, 7 * ms);
  CHECK_EQ(queries[4].prompt_tokens, 900);
}

TEST_CASE("conductor_core: admission judges a request that is held when it arrives, and again when it is placed") {
  auto options = conductor_options{};
  options.admit = admission{admit_early{}};
  options.slo_ttft_ns = 1000 * ms;
  auto f = fixture{options};
  auto p = f.up(role::prefill, 0);
  f.up(role::decode, 0);
  auto expected = uint64_t{1};
  f.policy = [&](const route_query& query, const load_view& view) {
    auto decision = late_binding(query, view);
    if (decision.what == verdict::hold)
      decision.chosen.ttft_ns = expected;
    return decision;
  };
  auto first = f.submit(1, 4000);
  f.submit(2, 4000);
  CHECK(f.sent<rejected>().empty());
  expected = 1001 * ms;
  f.submit(3, 4000);
  REQUIRE_EQ(f.sent<rejected>().size(), 1);
  CHECK_EQ(f.sent<rejected>()[0].id.request.number, 3);
  f.now += 900 * ms; // With its own 0.5 s the second is late by now.
  f.report_computed(p, first);
  f.decide();
  REQUIRE_EQ(f.sent<rejected>().size(), 2);
  CHECK_EQ(f.sent<rejected>()[1].id.request.number, 2);
  CHECK_EQ(f.core.status(f.now).waiting, 0);
}

TEST_CASE("conductor_core: what a fetch asks of a node is in the books of the next decision") {
  auto f = fixture{};
  f.up(role::prefill, 0);
  f.up(role::decode, 0);
  auto shard = f.up(role::shard, 5);
  auto keys = testing::chain(7, 20);
  auto news = index_events{shard, 5, 1, 0, {}};
  for (const auto& key : keys)
    news.events.push_back({key, true});
  f.core.on(f.now, news);
  auto backlogs = std::vector<uint64_t>{};
  f.policy = [&](const route_query& query, const load_view& view) {
    backlogs.push_back(query.source_backlog_ns);
    return route_kvcache_centric{}.decide(query, view);
  };
  auto other = keys;
  for (auto i = 0u; i < 3; ++i) {
    other.resize(20 - i); // Another prompt each time: the first one's blocks are being fetched already.
    f.submit(i, 330, other);
    f.core.on(f.now, withdraw{f.session, {{f.session.incarnation, i}, 0}, ec::cancelled});
    f.core.on(f.now, cancelled{{role::prefill, 0, 1, 100}, {{f.session.incarnation, i}, 0}});
  }
  REQUIRE_EQ(backlogs.size(), 3);
  CHECK_EQ(backlogs[0], 0);
  CHECK_EQ(backlogs[1], estimator{}.transfer_ns(320));
  CHECK_EQ(backlogs[2], estimator{}.transfer_ns(320) + estimator{}.transfer_ns(304));
  f.now += 1000 * ms;
  f.submit(9, 330, keys);
  CHECK_EQ(backlogs.back(), 0);
}
