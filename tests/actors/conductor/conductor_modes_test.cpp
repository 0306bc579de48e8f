// SPDX-License-Identifier: Apache-2.0
#include "tests/actors/conductor/conductor_fixture.hpp"
#include "tests/support/testing.hpp"

using namespace perigee;
using fixture = perigee::testing::conductor_fixture;
using perigee::testing::chain;
using perigee::testing::ms;

namespace {

/// A shard at the node of instance `index` that holds those blocks.
address shard_with(fixture& f, uint32_t index, const std::vector<block_key>& keys) {
  auto shard = f.up(role::shard, index);
  auto news = index_events{shard, 5, 1, 0, {}};
  for (const auto& key : keys)
    news.events.push_back({key, true});
  f.core.on(f.now, news);
  return shard;
}

/// Blocks of 16 tokens; up to 200 uncached tokens, less than half of the prompt, are computed at decode.
fixture conditional_fixture() {
  auto options = conductor_options{};
  options.at_decode = conditional{200, 0.5};
  return fixture{options};
}

/// The prefill instance has something to compute, and decodes it at an instance that nobody else is placed at.
void keep_busy(fixture& f, const address& decode) {
  f.submit(99, 5000);
  REQUIRE(f.sent<placed>().at(0).decode == decode);
  f.log.clear();
}

fixture coupled_fixture(coupling how) {
  auto options = conductor_options{};
  options.coupled = how;
  options.mixed_chunk_tokens = 64;
  return fixture{options};
}

} // namespace

TEST_CASE("conditional: both bounds are exclusive") {
  auto limits = conditional{2048, 0.7};
  CHECK(limits.applies(10'000, 2047));
  CHECK(!limits.applies(10'000, 2048));
  CHECK(limits.applies(1000, 699));
  CHECK(!limits.applies(1000, 700));
  CHECK(limits.applies(1, 0));
}

TEST_CASE("conductor_modes: a decode instance computes what is short, and reads its prefix where it is") {
  auto f = conditional_fixture();
  f.up(role::prefill, 0);
  auto busy = f.up(role::decode, 3);
  auto idle = f.up(role::decode, 5);
  auto keys = chain(1, 30);
  auto shard = shard_with(f, 8, keys);
  f.submit(1, 900, chain(7, 56)); // Nothing of it is cached: to a prefill instance.
  f.submit(2, 500, keys);
  auto answers = f.sent<placed>();
  REQUIRE_EQ(answers.size(), 2);
  CHECK(answers[0].prefill.kind == role::prefill);
  CHECK(answers[0].decode == busy);
  CHECK(answers[1].prefill == idle);
  CHECK(answers[1].decode == idle);
  REQUIRE_EQ(answers[1].prefix.size(), 1);
  CHECK(answers[1].prefix[0].shard == shard);
  CHECK_EQ(answers[1].prefix[0].blocks, 30);
  CHECK_EQ(f.asked.size(), 1); // No policy decides about the second.
  CHECK(f.core.decision_of({f.session.incarnation, 2})->decision.at_decode);
}

TEST_CASE("conductor_modes: while a prefill instance is idle, sequences are not slowed") {
  auto f = conditional_fixture();
  f.up(role::prefill, 0);
  f.up(role::decode, 0);
  auto keys = chain(1, 30);
  shard_with(f, 8, keys);
  f.submit(1, 500, keys);
  auto answers = f.sent<placed>();
  REQUIRE_EQ(answers.size(), 1);
  CHECK(answers[0].prefill.kind == role::prefill);
}

TEST_CASE("conductor_modes: no chunk is computed at decode with which a step would take longer than promised") {
  // 20 of 500 tokens take 52 ms, a step of one sequence 26 ms.
  for (auto promised_ms : {77, 80}) {
    auto options = conductor_options{};
    options.at_decode = conditional{200, 0.5};
    options.slo_tbt_ns = promised_ms * ms;
    auto f = fixture{options};
    f.up(role::prefill, 0);
    keep_busy(f, f.up(role::decode, 0));
    auto keys = chain(1, 30);
    shard_with(f, 8, keys);
    f.submit(1, 500, keys);
    auto answers = f.sent<placed>();
    REQUIRE_EQ(answers.size(), 1);
    CHECK_EQ(answers[0].prefill.kind, promised_ms == 80 ? role::decode : role::prefill);
  }
}

TEST_CASE("conductor_modes: what is computed at decode is reserved once, and ends once") {
  for (auto how : {0, 1, 2}) {
    auto f = conditional_fixture();
    f.up(role::prefill, 0);
    keep_busy(f, f.up(role::decode, 7, 5200));
    auto decode = f.up(role::decode, 0);
    auto keys = chain(1, 30);
    shard_with(f, 8, keys);
    auto id = f.submit(1, 500, keys);
    const auto* at = f.core.ledger().find(role::decode, 0);
    CHECK_EQ(at->tokens, 600);
    CHECK_EQ(at->queued, 1);
    CHECK_EQ(at->queued_tokens, 20);
    CHECK_EQ(at->running, 0);
    f.report_computed(decode, id);
    CHECK_EQ(at->queued, 0);
    CHECK_EQ(at->running, 1);
    CHECK_EQ(at->running_tokens, 600);
    if (how == 0) {
      f.send_report(decode, 10'000, {{id, 510, 0}});
      f.send_report(decode, 10'000, {{id, 510, 0}});
    } else if (how == 1) {
      f.core.on(f.now, withdraw{f.session, id, ec::cancelled});
      CHECK_EQ(f.sent<cancel>().size(), 1); // One instance, one message.
      f.core.on(f.now, cancelled{decode, id});
      f.core.on(f.now, cancelled{decode, id});
    } else {
      f.core.on(f.now, peer_down{decode});
      CHECK_EQ(f.core.ledger().placements().size(), 1);
      continue;
    }
    CHECK_EQ(f.core.ledger().placements().size(), 1); // Of what keeps the prefill instance busy.
    CHECK_EQ(at->tokens, 0);
    CHECK_EQ(at->running, 0);
    CHECK_EQ(at->running_tokens, 0);
    CHECK_EQ(at->rows, 0);
    CHECK_EQ(at->open, 0);
  }
}

TEST_CASE("conductor_modes: without room at decode a short request waits like any other") {
  auto f = conditional_fixture();
  f.up(role::prefill, 0);
  keep_busy(f, f.up(role::decode, 7, 5200));
  auto decode = f.up(role::decode, 0, 1000);
  auto keys = chain(1, 30);
  shard_with(f, 8, keys);
  auto first = f.submit(1, 500, keys);
  f.submit(2, 500, keys);
  CHECK_EQ(f.sent<placed>().size(), 1);
  f.send_report(decode, 1000, {{first, 510, 0}});
  f.decide();
  CHECK_EQ(f.sent<placed>().size(), 2);
}

TEST_CASE("conductor_modes: coupled instances are candidates by their own caches, and decode what they compute") {
  auto f = coupled_fixture(coupling::chunked);
  f.up(role::decode, 0);
  auto holder = f.up(role::decode, 1);
  auto keys = chain(1, 30);
  auto shard = shard_with(f, 1, keys);
  auto queries = std::vector<route_query>{};
  f.policy = [&](const route_query& query, const load_view& view) {
    queries.push_back(query);
    REQUIRE(view.find(role::prefill, 1) != nullptr);
    REQUIRE(view.find(role::decode, 1) != nullptr);
    return route_kvcache_centric{}.decide(query, view);
  };
  f.submit(1, 500, keys);
  auto answers = f.sent<placed>();
  REQUIRE_EQ(answers.size(), 1);
  CHECK(answers[0].prefill == holder);
  CHECK(answers[0].decode == holder);
  REQUIRE_EQ(answers[0].prefix.size(), 1);
  CHECK(answers[0].prefix[0].shard == shard);
  REQUIRE_EQ(queries.size(), 1);
  CHECK_EQ(queries[0].best_blocks, 0); // Nothing is fetched from other nodes.
  REQUIRE_EQ(queries[0].candidates.size(), 2);
  CHECK_EQ(queries[0].candidates[0].own_blocks, 0);
  CHECK_EQ(queries[0].candidates[1].own_blocks, 30);
  CHECK_EQ(f.core.ledger().find(role::decode, 1)->tokens, 600);
}

TEST_CASE("conductor_modes: what a coupled instance computes counts as its own for the next request") {
  auto f = coupled_fixture(coupling::chunked);
  f.up(role::decode, 0);
  f.up(role::decode, 1);
  shard_with(f, 0, {});
  shard_with(f, 1, {});
  auto keys = chain(1, 300);
  auto own = std::vector<uint32_t>{};
  f.policy = [&](const route_query& query, const load_view& view) {
    own.push_back(query.candidates.at(0).own_blocks);
    return route_kvcache_centric{}.decide(query, view);
  };
  f.submit(1, 4800, keys);
  f.submit(2, 4800, keys);
  CHECK(own == std::vector<uint32_t>{0, 300});
}

TEST_CASE("conductor_modes: the steps between chunks are part of a predicted prompt, unless sequences stall") {
  for (auto how : {coupling::chunked, coupling::prefill_first}) {
    auto f = coupled_fixture(how);
    auto decode = f.up(role::decode, 0);
    auto times = std::vector<uint64_t>{};
    f.policy = [&](const route_query& query, const load_view& view) {
      times.push_back(query.candidates.at(0).prefill_own_ns);
      return route_kvcache_centric{}.decide(query, view);
    };
    auto first = f.submit(1, 640);
    f.report_computed(decode, first);
    f.submit(2, 640);
    REQUIRE_EQ(times.size(), 2);
    if (how == coupling::chunked)
      CHECK_GT(times[1], times[0] + 9 * 26 * ms); // Ten chunks.
    else
      CHECK_EQ(times[1], times[0]);
  }
}

TEST_CASE("conductor_modes: a coupled cluster without a policy's answer still places") {
  auto f = coupled_fixture(coupling::prefill_first);
  f.up(role::decode, 0);
  f.policy = [](const route_query&, const load_view&) { return route_decision{}; };
  f.submit(1, 500);
  f.now += 1000 * ms;
  REQUIRE(f.core.next_query(f.now));
  f.core.decide_without_policy(f.now);
  auto answers = f.sent<placed>();
  REQUIRE_EQ(answers.size(), 1);
  CHECK(answers[0].prefill == answers[0].decode);
}
