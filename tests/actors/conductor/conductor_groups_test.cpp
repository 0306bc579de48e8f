// SPDX-License-Identifier: Apache-2.0
#include "tests/actors/conductor/conductor_fixture.hpp"
#include "tests/support/testing.hpp"

using namespace perigee;
using namespace perigee::testing;

namespace {

/// A Conductor that splits prompts of 1,000 uncached tokens and more, in chunks of 512, with one decode instance.
struct groups_fixture : conductor_fixture {
  explicit groups_fixture(uint32_t prefills, uint32_t limit = 8) : conductor_fixture(options_with(limit)) {
    stages_max = 8;
    up(role::decode, 0, 500'000);
    for (auto i = 0u; i < prefills; ++i)
      up(role::prefill, i, 500'000);
  }

  static conductor_options options_with(uint32_t limit) {
    auto options = conductor_options{};
    options.groups = pipelining{1000, limit, 512};
    return options;
  }

  placed place(uint64_t number, uint32_t tokens) {
    auto id = submit(number, tokens);
    for (const auto& answer : sent<placed>())
      if (answer.id == id)
        return answer;
    FAIL("request " << number << " has no place");
    return {};
  }

  const books::member& at(uint32_t prefill) const {
    return *core.ledger().find(role::prefill, prefill);
  }
};

} // namespace

TEST_CASE("conductor: instances share the layers of a long prompt, and are reserved together") {
  auto it = groups_fixture{4};
  auto answer = it.place(1, 20'000);
  REQUIRE_EQ(answer.group.others.size(), 3);
  CHECK_EQ(answer.group.chunk_tokens, 512);
  for (const auto& other : answer.group.others)
    CHECK(other != answer.prefill);
  CHECK_EQ(it.core.decisions().back().decision.stages.size(), 3);
  auto takes_ns = it.at(0).queued_ns;
  CHECK_GT(takes_ns, 0);
  for (auto i = 0u; i < 4; ++i) {
    CHECK_EQ(it.at(i).queued, 1);
    CHECK_EQ(it.at(i).queued_ns, takes_ns);
    CHECK_EQ(it.at(i).open, 1);
  }
  // 0.048 + 20,000 * 1.107e-4 + 20,000² * 7.25e-10 s alone; a quarter of it, and of the last chunk three times.
  CHECK_GT(takes_ns, 2'552 * ms / 4);
  CHECK_LT(takes_ns, 2'552 * ms / 4 + 80 * ms);
  CHECK_EQ(it.core.decisions().back().decision.chosen.prefill_ns, takes_ns);
}

TEST_CASE("conductor: short prompts have one instance, and so has everything where the others are busy for too long") {
  auto it = groups_fixture{2};
  CHECK(it.place(1, 999).group.others.empty());
  auto busy = groups_fixture{2};
  CHECK_EQ(busy.place(1, 20'000).group.others.size(), 1);
  CHECK(busy.place(2, 20'000).group.others.empty()); // Half the time saves no more than waiting for the other takes.
  CHECK(busy.place(3, 60'000).group.others.empty()); // It would, but the other has two prompts.
  auto limited = groups_fixture{4, 2};
  CHECK_EQ(limited.place(1, 20'000).group.others.size(), 1);
}

TEST_CASE("conductor: the more wait for devices, the fewer share a prompt, because sharing takes device time from them") {
  for (auto [held, stages] : {std::pair{0, 3}, {30, 1}, {200, 0}}) {
    auto it = groups_fixture{4};
    auto place_at_once = it.policy;
    it.policy = [&](const route_query& query, const load_view& view) {
      return query.prompt_tokens < 100 ? route_decision{} : place_at_once(query, view);
    };
    for (auto i = 0; i < held; ++i)
      it.submit(100 + i, 50);
    CHECK_EQ(it.place(1, 20'000).group.others.size(), stages);
  }
}

TEST_CASE("conductor: whom the policy spares is in no group") {
  auto it = groups_fixture{4};
  auto place_at_once = it.policy;
  it.policy = [&](const route_query& query, const load_view& view) {
    auto decision = place_at_once(query, view);
    decision.spared = {1, 3};
    return decision;
  };
  auto answer = it.place(1, 20'000);
  CHECK_GE(answer.group.others.size(), 1);
  for (const auto& other : answer.group.others)
    CHECK_EQ(other.index % 2, 0);
}

TEST_CASE("conductor: only who can run a part of the layers is in a group") {
  auto it = groups_fixture{2};
  it.stages_max = 1;
  it.up(role::prefill, 2, 500'000);
  it.stages_max = 2;
  it.up(role::prefill, 3, 500'000);
  auto answer = it.place(1, 20'000);
  CHECK_LE(answer.group.others.size(), 2);
  for (const auto& other : answer.group.others)
    CHECK_NE(other.index, 2);
}

TEST_CASE("conductor: a group is free when its prompt is computed, and its reservations end with the head's") {
  auto it = groups_fixture{3};
  auto answer = it.place(1, 20'000);
  REQUIRE_EQ(answer.group.others.size(), 2);
  it.report_computed(answer.prefill, answer.id);
  for (auto i = 0u; i < 3; ++i) {
    CHECK_EQ(it.at(i).queued, 0);
    CHECK_EQ(it.at(i).queued_ns, 0);
  }
  it.send_report(answer.prefill, 500'000, {{answer.id, 20'000, 0}});
  for (auto i = 0u; i < 3; ++i) {
    CHECK(it.at(i).open == 0);
    CHECK_EQ(it.at(i).tokens, 0);
  }
}

TEST_CASE("conductor: the death of a stage takes its reservation with it, that of the head all of them") {
  for (auto head_dies : {false, true}) {
    auto it = groups_fixture{3};
    auto answer = it.place(1, 20'000);
    auto gone = head_dies ? answer.prefill : answer.group.others.at(0);
    it.core.on(it.now, peer_down{gone});
    for (auto i = 0u; i < 3; ++i)
      if (i != gone.index)
        CHECK_EQ(it.at(i).open, head_dies ? 0 : 1);
    if (head_dies)
      continue;
    it.core.on(it.now, cancelled{answer.prefill, answer.id});
    for (auto i = 0u; i < 3; ++i)
      if (i != gone.index)
        CHECK_EQ(it.at(i).tokens, 0);
  }
}

TEST_CASE("conductor: a stage is free before the head, by a chunk for each stage that comes after it") {
  auto it = groups_fixture{3};
  auto answer = it.place(1, 20'000);
  REQUIRE_EQ(answer.group.others.size(), 2);
  auto end_ns = it.at(answer.prefill.index).free_at_ns;
  auto second_ns = it.at(answer.group.others[1].index).free_at_ns;
  auto first_ns = it.at(answer.group.others[0].index).free_at_ns;
  // The last chunk, of 512 tokens behind 19,488: 0.0713 s alone, a third of it at each stage.
  CHECK_GT(end_ns - second_ns, 23 * ms);
  CHECK_LT(end_ns - second_ns, 25 * ms);
  CHECK_EQ(second_ns - first_ns, end_ns - second_ns);
  it.report_computed(answer.prefill, answer.id);
  CHECK_EQ(it.at(answer.prefill.index).free_at_ns - it.at(answer.group.others[0].index).free_at_ns, end_ns - first_ns);
}

TEST_CASE("conductor: a new one reserves a group that runs at all of its instances that it knows") {
  auto it = groups_fixture{0};
  auto id = ticket{{it.session.incarnation, 77}, 2};
  auto head = address{role::prefill, 0, 1, 100};
  auto known = address{role::prefill, 1, 2, 100};
  auto unknown = address{role::prefill, 2, 3, 100};
  it.core.on(it.now, peer_up{head, {}});
  it.core.on(it.now, peer_up{known, {}});
  auto news = it.full_report(head, 500'000);
  news.active = {{id, 20'000, 4}};
  news.groups = {{id, {known, unknown}}};
  it.core.on(it.now, news);
  CHECK_EQ(it.at(0).queued, 1);
  CHECK_EQ(it.at(1).queued, 1);
  CHECK_LT(it.at(0).queued_ns, 2'552 * ms / 2 + 80 * ms); // Half of the time that it takes alone.
  CHECK_LT(it.at(1).free_at_ns, it.at(0).free_at_ns);
  it.core.on(it.now, peer_up{unknown, {}});
  CHECK_EQ(it.at(2).queued, 0);
  it.core.on(it.now, peer_down{head});
  CHECK_EQ(it.at(1).open, 0);
  CHECK_EQ(it.at(1).queued_ns, 0);
}
