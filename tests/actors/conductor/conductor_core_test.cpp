// SPDX-License-Identifier: Apache-2.0
#include "tests/actors/conductor/conductor_fixture.hpp"
#include "tests/support/testing.hpp"

using namespace perigee;
using fixture = perigee::testing::conductor_fixture;
using perigee::testing::chain;
using perigee::testing::ms;

TEST_CASE("conductor_core: a request waits until there is a prefill and a decode instance") {
  auto f = fixture{};
  auto id = f.submit(1, 100);
  CHECK_EQ(f.sent<accepted>().size(), 1);
  f.up(role::prefill, 0);
  f.decide();
  CHECK(f.sent<placed>().empty());
  f.up(role::decode, 0);
  f.decide();
  auto answers = f.sent<placed>();
  REQUIRE_EQ(answers.size(), 1);
  CHECK_EQ(answers[0].id, id);
  CHECK_EQ(answers[0].prefill.kind, role::prefill);
}

TEST_CASE("conductor_core: each decision sees the reservations of those before it, so nobody herds") {
  auto f = fixture{};
  for (auto i = 0u; i < 4; ++i) {
    f.up(role::prefill, i);
    f.up(role::decode, i);
  }
  for (auto i = 0u; i < 8; ++i)
    f.submit(i, 500);
  auto prefills = std::map<uint32_t, int>{};
  auto decodes = std::map<uint32_t, int>{};
  for (const auto& answer : f.sent<placed>()) {
    ++prefills[answer.prefill.index];
    ++decodes[answer.decode.index];
  }
  for (auto i = 0u; i < 4; ++i) {
    CHECK_EQ(prefills[i], 2);
    CHECK_EQ(decodes[i], 2);
  }
}

TEST_CASE("conductor_core: reservations end exactly once, by report, cancel or death") {
  auto f = fixture{};
  auto p = f.up(role::prefill, 0);
  auto d = f.up(role::decode, 0);
  auto first = f.submit(1, 500);
  auto second = f.submit(2, 700);
  const auto* decode = f.core.ledger().find(role::decode, 0);
  CHECK_EQ(decode->open, 2);
  f.send_report(p, 10'000, {{first, 0, 0}});
  f.send_report(d, 10'000, {{first, 600, 0}});
  f.send_report(d, 10'000, {{first, 600, 0}}); // Repeated: changes nothing.
  CHECK_EQ(decode->open, 1);
  f.core.on(f.now, withdraw{f.session, second, ec::cancelled});
  CHECK_EQ(f.sent<cancel>().size(), 2);
  f.core.on(f.now, cancelled{d, second});
  f.core.on(f.now, cancelled{d, second});
  CHECK_EQ(decode->tokens, 0);
  CHECK_EQ(f.core.ledger().placements().size(), 1);
  f.core.on(f.now, peer_down{p});
  CHECK(f.core.ledger().placements().empty());
}

TEST_CASE("conductor_core: a request that finished before its reports came makes its instance look no freer than it is") {
  auto f = fixture{};
  f.up(role::prefill, 0);
  f.up(role::decode, 0);
  auto first = f.submit(1, 500);
  f.submit(2, 700);
  const auto* prefill = f.core.ledger().find(role::prefill, 0);
  auto free_at_ns = prefill->free_at_ns;
  f.now += 1;
  f.core.on(f.now, withdraw{f.session, first, ec::none});
  CHECK_EQ(prefill->queued, 1);
  CHECK(prefill->free_at_ns <= f.now + prefill->queued_ns);
  f.now = free_at_ns - 10;
  auto third = f.submit(3, 600);
  free_at_ns = prefill->free_at_ns;
  f.core.on(f.now, withdraw{f.session, {{f.session.incarnation, 2}, 0}, ec::none});
  CHECK_EQ(prefill->queued, 1);
  CHECK(prefill->free_at_ns + 10 >= free_at_ns);
  f.core.on(f.now, withdraw{f.session, third, ec::cancelled}); // Not finished: it leaves when the instance says so.
  CHECK_EQ(prefill->queued, 1);
}

TEST_CASE("conductor_core: a late copy of a request that was withdrawn is not placed a second time") {
  auto f = fixture{};
  f.up(role::prefill, 0);
  f.up(role::decode, 0);
  auto id = f.submit(1, 500);
  f.core.on(f.now, withdraw{f.session, id, ec::cancelled});
  CHECK_EQ(f.submit(1, 500), id);
  CHECK_EQ(f.core.ledger().placements().size(), 1);
  CHECK_EQ(f.core.requests(), 0);
}

TEST_CASE("conductor_core: a higher attempt undoes the lower one and is placed anew") {
  auto f = fixture{};
  f.up(role::prefill, 0);
  f.up(role::decode, 0);
  auto lower = f.submit(1, 100);
  auto higher = f.submit(1, 120, {}, 1);
  f.core.tick(f.now);
  auto cancels = f.sent<cancel>();
  REQUIRE_EQ(cancels.size(), 2);
  CHECK_EQ(cancels[0].id, lower);
  CHECK_EQ(f.sent<placed>().back().id, higher);
  f.submit(1, 100); // A late repetition of the first.
  CHECK_EQ(f.sent<placed>().size(), 2);
}

TEST_CASE("conductor_core: an unacknowledged placement is repeated, an acknowledged one is not") {
  auto f = fixture{};
  f.up(role::prefill, 0);
  f.up(role::decode, 0);
  auto id = f.submit(1, 100);
  f.now += 300 * ms;
  f.core.tick(f.now);
  CHECK_EQ(f.sent<placed>().size(), 2);
  f.core.on(f.now, placed_ack{f.session, id, 0});
  f.now += 300 * ms;
  f.core.tick(f.now);
  CHECK_EQ(f.sent<placed>().size(), 2);
}

TEST_CASE("conductor_core: a prefix at a shard is planned from there, and stops being so when the shard dies") {
  auto f = fixture{};
  f.up(role::prefill, 0);
  f.up(role::prefill, 1);
  f.up(role::decode, 0);
  auto shard = f.up(role::shard, 1); // On the node of prefill 1.
  auto keys = chain(7, 20);
  auto news = index_events{shard, 5, 1, 0, {}};
  for (const auto& key : keys)
    news.events.push_back({key, true});
  f.core.on(f.now, news);
  CHECK_EQ(f.sent<index_ack>().back().next, 20);
  f.submit(1, 330, keys);
  auto answer = f.sent<placed>().back();
  CHECK_EQ(answer.prefill.index, 1);
  REQUIRE_EQ(answer.prefix.size(), 1);
  CHECK_EQ(answer.prefix[0].shard, shard);
  CHECK_EQ(answer.prefix[0].blocks, 20);
  f.core.on(f.now, peer_down{shard});
  f.submit(2, 330, keys);
  CHECK(f.sent<placed>().back().prefix.empty());
}

TEST_CASE("conductor_core: index events apply once and in order, a forgotten epoch is asked for again") {
  auto f = fixture{};
  auto shard = f.up(role::shard, 0);
  auto keys = chain(1, 3);
  auto batch = [&](uint64_t epoch, uint64_t sequence, std::vector<index_event> events) {
    f.core.on(f.now, index_events{shard, 5, epoch, sequence, std::move(events)});
    return f.sent<index_ack>().back();
  };
  CHECK(batch(3, 4, {{keys[0], true}}).resync);
  CHECK_EQ(batch(4, 0, {{keys[0], true}, {keys[1], true}}).next, 2);
  CHECK_EQ(batch(4, 0, {{keys[0], true}, {keys[1], true}}).next, 2); // Repeated.
  CHECK_EQ(batch(4, 3, {{keys[2], true}}).next, 2);                  // A gap: not applied.
  CHECK_EQ(batch(4, 1, {{keys[1], true}, {keys[0], false}}).next, 3); // Overlaps: only the news count.
  CHECK_FALSE(f.core.index().holds(keys[0], 0));
  CHECK(f.core.index().holds(keys[1], 0));
  CHECK_EQ(batch(5, 0, {{keys[2], true}}).next, 1);
  CHECK_FALSE(f.core.index().holds(keys[1], 0));
}

TEST_CASE("conductor_core: a refused decode side moves elsewhere, or is told to wait") {
  auto f = fixture{};
  auto p = f.up(role::prefill, 0);
  f.up(role::decode, 0);
  f.up(role::decode, 1);
  auto id = f.submit(1, 100);
  auto first = f.sent<placed>().back().decode;
  f.core.on(f.now, redirect{p, id, 0});
  auto answer = f.sent<redirected>().back();
  CHECK_EQ(answer.revision, 1);
  CHECK(answer.decode != first);
  CHECK_EQ(f.sent<placed>().back().revision, 1);
  CHECK_EQ(f.core.ledger().find(role::decode, first.index)->tokens, 0);
  f.core.on(f.now, redirect{p, id, 0}); // Repeated: the same answer.
  CHECK_EQ(f.sent<redirected>().back().decode, answer.decode);
  CHECK_EQ(f.core.status(f.now).redirections, 1);
}

TEST_CASE("conductor_core: refused decode sides of two requests that fill an instance each stay where they are") {
  auto f = fixture{};
  auto p = f.up(role::prefill, 0);
  f.up(role::decode, 0);
  f.up(role::decode, 1);
  for (auto number : {1, 2}) {
    auto id = f.submit(number, 6000);
    auto first = f.sent<placed>().back();
    f.core.on(f.now, redirect{p, id, 0});
    if (number == 1) { // Nobody is at the other one yet.
      CHECK(f.sent<redirected>().back().decode != first.decode);
      continue;
    }
    auto answer = f.sent<redirected>().back();
    CHECK_EQ(answer.reason, ec::none);
    CHECK_EQ(answer.revision, 1);
    CHECK(answer.decode == first.decode);
    CHECK(f.core.ledger().find(role::decode, first.decode.index)->open == 1);
  }
}

TEST_CASE("conductor_core: too long prompts, full queues and passed deadlines are refused with a reason") {
  auto options = conductor_options{};
  options.waiting_requests_max = 2;
  auto f = fixture{options};
  f.submit(1, 100);
  f.submit(2, 100);
  f.submit(3, 100);
  REQUIRE_EQ(f.sent<rejected>().size(), 1);
  CHECK_EQ(f.sent<rejected>()[0].reason, ec::overloaded);
  CHECK(f.sent<rejected>()[0].retry_after_ns > 0);
  f.now += 61'000 * ms;
  f.core.tick(f.now);
  CHECK_EQ(f.sent<rejected>().back().reason, ec::deadline);
  f.up(role::prefill, 0, 1000);
  f.up(role::decode, 0, 1000);
  f.submit(4, 1000);
  CHECK_EQ(f.sent<rejected>().back().reason, ec::too_long);
}

TEST_CASE("conductor_core: early admission refuses what would miss its promise, but never a second attempt") {
  auto options = conductor_options{};
  options.admit = admission{admit_early{}};
  options.slo_ttft_ns = 1000 * ms;
  auto f = fixture{options};
  f.up(role::prefill, 0, 1'000'000);
  f.up(role::decode, 0, 1'000'000);
  f.submit(1, 8000); // 0.98 s
  CHECK(f.sent<rejected>().empty());
  f.submit(2, 8000);
  REQUIRE_EQ(f.sent<rejected>().size(), 1);
  CHECK(f.sent<rejected>()[0].detail.find("1000 ms") != std::string::npos);
  f.submit(3, 8000, {}, 1);
  CHECK_EQ(f.sent<rejected>().size(), 1);
}

TEST_CASE("conductor_core: the record of a decision names the policy, or what stood in for a silent one") {
  auto f = fixture{};
  f.up(role::prefill, 0);
  f.up(role::decode, 0);
  auto answered = f.submit(1, 100);
  CHECK_EQ(f.core.decision_of(answered.request)->policy, "kvcache-centric");
  auto request = perigee::submit{};
  request.from = f.session;
  request.id = {{f.session.incarnation, 2}, 0};
  request.prompt_tokens = 100;
  request.max_tokens = 10;
  request.deadline_ns = 60'000 * ms;
  f.core.on(f.now, request);
  auto query = f.core.next_query(f.now);
  REQUIRE(query.has_value());
  f.core.decide_without_policy(f.now);
  auto late = route_decision{};
  late.placement = query->placement;
  f.core.on(f.now, late);
  auto record = f.core.decision_of(request.id.request);
  REQUIRE(record.has_value());
  CHECK_EQ(record->policy, "least-seconds");
  CHECK_EQ(record->decision.what, verdict::place);
}

TEST_CASE("conductor_core: a new Conductor adopts what instances say they hold") {
  auto f = fixture{};
  auto p = address{role::prefill, 0, 1, 100};
  auto d = address{role::decode, 0, 1, 100};
  f.core.on(f.now, peer_up{p, {}});
  f.core.on(f.now, peer_up{d, {}});
  auto id = ticket{{f.session.incarnation, 77}, 2};
  for (const auto& who : {p, d}) {
    auto news = f.full_report(who);
    news.active = {{id, 300, 4}};
    f.core.on(f.now, news);
  }
  REQUIRE_EQ(f.core.ledger().placements().size(), 1);
  CHECK_EQ(f.core.ledger().find(role::decode, 0)->tokens, 300);
  f.core.on(f.now, withdraw{f.session, id, ec::cancelled});
  CHECK_EQ(f.sent<cancel>().size(), 2);
}

TEST_CASE("conductor_core: a session's death cancels its work") {
  auto f = fixture{};
  f.up(role::prefill, 0);
  f.up(role::decode, 0);
  f.submit(1, 100);
  f.core.on(f.now, peer_down{f.session});
  f.core.tick(f.now);
  CHECK_EQ(f.sent<cancel>().size(), 2);
  CHECK_EQ(f.core.requests(), 0);
}
