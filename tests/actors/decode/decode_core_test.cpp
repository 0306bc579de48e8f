// SPDX-License-Identifier: Apache-2.0
#include "tests/actors/decode/decode_script.hpp"

using namespace perigee;
using namespace perigee::testing;

TEST_CASE("decode_core: a step has one row per sequence, oldest first, as many as the batch may have") {
  auto it = decode_script{16, 2};
  it.join(it.reservation(1, 8));
  auto penalised = it.reservation(2, 5, 1, 0, 50);
  penalised.gen.sampling.repetition_penalty = 2;
  it.join(penalised);
  it.join(it.reservation(3, 4, 1, 0, 90));
  auto first = it.step(); // Began when the first joined.
  REQUIRE_EQ(first.rows.size(), 1);
  CHECK_EQ(first.rows[0].token, 500);
  CHECK_EQ(first.rows[0].position, 8);
  CHECK_EQ(first.rows[0].blocks.size(), 3);
  CHECK_EQ(first.rows[0].sample.generated, 1);
  CHECK(first.rows[0].sample.history.empty());
  auto second = it.step();
  REQUIRE_EQ(second.rows.size(), 2);
  CHECK_EQ(second.rows[0].token, 600);
  CHECK_EQ(second.rows[0].position, 9);
  CHECK_EQ(second.rows[0].sample.generated, 2);
  CHECK_EQ(second.rows[1].token, 500);
  CHECK_EQ(second.rows[1].sample.history.size(), 6);
  CHECK_EQ(second.rows[1].sample.prompt_tokens, 5);
  it.step(end_token);
  it.publish_all();
  CHECK_EQ(it.step(end_token).rows.size(), 1); // The third, when there is a row for it.
  it.publish_all();
  CHECK(it.empty());
}

TEST_CASE("decode_core: a resumed choice goes on counting where it was") {
  auto it = decode_script{};
  auto request = it.reservation(1, 9);
  request.gen.prompt_tokens = 6;
  request.gen.max_tokens = 5;
  request.gen.choices = {{4, 3}};
  it.join(request);
  auto batch = it.only<token_batch>(the_session);
  CHECK_EQ(batch.updates.at(0).first, 3);
  CHECK_EQ(batch.updates.at(0).choice, 4);
  CHECK_EQ(it.step().rows.at(0).sample.generated, 4);
  auto ended = it.finishes();
  REQUIRE_EQ(ended.size(), 1);
  CHECK(ended[0].second == finish_reason::length);
}

TEST_CASE("decode_core: a session gets one batch a step, repeated until it says that it has it") {
  auto it = decode_script{};
  it.join(it.reservation(1, 8));
  it.join(it.reservation(2, 8, 1, 0, 50));
  it.step();
  it.forget();
  it.step();
  auto batch = it.only<token_batch>(the_session);
  CHECK_EQ(batch.updates.size(), 2);
  CHECK_EQ(batch.updates[0].first, 2);
  it.tick_after(250 * ms);
  batch = it.only<token_batch>(the_session);
  CHECK_EQ(batch.updates.at(0).first, 0);
  CHECK_EQ(batch.updates.at(0).tokens.size(), 3);
  it.tell(token_acks{the_session, {{ticket_of(1), 0, 2, false}, {ticket_of(2), 0, 2, false}}});
  it.tick_after(250 * ms);
  batch = it.only<token_batch>(the_session);
  REQUIRE_EQ(batch.updates.size(), 1);
  CHECK_EQ(batch.updates[0].id, ticket_of(1));
  CHECK_EQ(batch.updates[0].first, 2);
}

TEST_CASE("decode_core: full generated blocks go to the shards, the prompt's are known there") {
  auto it = decode_script{};
  auto request = it.reservation(1, 6);
  request.gen.max_tokens = 8;
  it.join(request);
  for (auto i = 0; i < 7; ++i)
    it.step();
  auto offered = it.only_local<publish>();
  auto tokens = tokens_from(1, 6); // and 500, 7 times 600; the last has no KV.
  tokens.push_back(500);
  tokens.insert(tokens.end(), 6, 600);
  auto keys = chain_keys(request.root, tokens, 4);
  REQUIRE_EQ(keys.size(), 3);
  CHECK(offered.keys == std::vector<block_key>{keys[1], keys[2]});
  CHECK_EQ(it.slots(slot_state::live), 2);
  it.tell(published{offered.id, 2});
  it.tell(published{offered.id, 2});
  CHECK(it.empty());

  auto keeps_nothing = decode_script{16, 4, false};
  keeps_nothing.join(request);
  for (auto i = 0; i < 7; ++i)
    keeps_nothing.step();
  CHECK(keeps_nothing.empty());
}

TEST_CASE("decode_core: without room the youngest goes, and comes back through the session; the oldest goes on") {
  auto it = decode_script{7};
  it.join(it.reservation(1, 7));
  it.join(it.reservation(2, 7, 1, 0, 50));
  for (auto i = 0; i < 9; ++i) {
    auto rows = it.step().rows.size();
    it.publish_all();
    if (i > 0 && it.core.attempts() == 2)
      CHECK_EQ(rows, 2);
  }
  auto ended = it.finishes();
  REQUIRE_EQ(ended.size(), 1);
  CHECK(ended[0] == std::pair{ticket_of(2), finish_reason::preempted});
  CHECK_EQ(it.core.attempts(), 1);
  CHECK_EQ(it.step(end_token).rows.size(), 1);
  it.publish_all();
  CHECK(it.empty());
}

TEST_CASE("decode_core: nobody else is preempted while blocks are on their way to the shards") {
  auto it = decode_script{6};
  it.join(it.reservation(1, 3));
  it.join(it.reservation(2, 3, 1, 0, 50));
  it.join(it.reservation(3, 3, 1, 0, 90));
  auto ended = it.finishes();
  while (ended.empty()) {
    it.step();
    ended = it.finishes();
  }
  REQUIRE_EQ(ended.size(), 1);
  CHECK_EQ(ended[0].first, ticket_of(3));
  auto offered = it.only_local<publish>();
  CHECK_EQ(it.step().rows.size(), 2); // The first got the block that was not full.
  it.tell(published{offered.id, 0});
  CHECK_EQ(it.step().rows.size(), 1); // Was made up before that: the second had to wait.
  CHECK_EQ(it.step().rows.size(), 2);
  CHECK_EQ(it.core.attempts(), 2);
}

TEST_CASE("decode_core: alone in a pool that is too small a sequence ends, but not while slots are on loan") {
  auto it = decode_script{4};
  it.join(it.reservation(1, 7));
  auto coming = it.reservation(2, 4, 1, 0, 50);
  it.reserve_for(coming);
  auto steps = 0;
  for (auto work = it.take_local<run_decode>(); !work.empty(); work = it.take_local<run_decode>(), ++steps)
    it.tell(done(work[0].work.id, {600}));
  CHECK_EQ(steps, 5); // Positions 7 to 11.
  CHECK(it.finishes().empty());
  it.tell(quiesced{the_prefill, coming.id, true});
  for (auto i = 0; i < 4; ++i)
    it.step();
  auto ended = it.finishes();
  REQUIRE_EQ(ended.size(), 1);
  CHECK(ended[0].second == finish_reason::length);
  it.publish_all();
  CHECK(it.empty());
}

TEST_CASE("decode_core: a choice the session wants no more of ends after its step, the others go on") {
  auto it = decode_script{};
  it.join(it.reservation(1, 8, 2));
  it.tell(token_acks{the_session, {{ticket_of(1), 0, UINT32_MAX, true}}});
  it.tell(token_acks{the_session, {{ticket_of(1), 0, UINT32_MAX, true}}});
  CHECK_EQ(it.step().rows.size(), 2);
  it.forget();
  auto work = it.step();
  REQUIRE_EQ(work.rows.size(), 1);
  CHECK_EQ(work.rows[0].sample.choice, 1);
  CHECK_EQ(it.only<token_batch>(the_session).updates.size(), 1);
  auto two = decode_script{16, 1}; // Between steps it ends at once.
  two.join(two.reservation(1, 8));
  two.join(two.reservation(2, 8, 1, 0, 50));
  two.tell(token_acks{the_session, {{ticket_of(2), 0, UINT32_MAX, true}}});
  CHECK_EQ(two.core.attempts(), 1);
}

TEST_CASE("decode_core: a failed step ends its rows, a broken device the instance") {
  for (auto code : {errc::invalid_argument, errc::io_error}) {
    auto it = decode_script{};
    it.join(it.reservation(1, 8));
    auto work = it.only_local<run_decode>().work;
    it.tell(done(work.id + 100, {600})); // Nobody's.
    it.tell(done(work.id, {}, code));
    auto ended = it.finishes();
    REQUIRE_EQ(ended.size(), 1);
    CHECK(ended[0].second == finish_reason::failed);
    CHECK(it.empty());
    CHECK_EQ(it.core.device_lost(it.now), code == errc::io_error);
  }
}

TEST_CASE("decode_core: a device that is silent for too long is lost, over a step or over a copy") {
  auto it = decode_script{};
  it.join(it.reservation(1, 8));
  CHECK_FALSE(it.core.device_lost(it.now + 119'999 * ms));
  CHECK(it.core.device_lost(it.now + 120'000 * ms));
  it.step(end_token);
  CHECK_FALSE(it.core.device_lost(it.now + 120'000 * ms));
  auto forked = it.reservation(2, 6, 2);
  forked.gen.max_tokens = 1; // Only the copy is left.
  it.reserve_for(forked);
  it.tell(it.announcement(forked, 0));
  CHECK(it.take_local<run_decode>().empty());
  CHECK_FALSE(it.core.device_lost(it.now + 119'999 * ms));
  CHECK(it.core.device_lost(it.now + 120'000 * ms));
  it.tell(done(it.only_local<run_copy>().work.id));
  CHECK_FALSE(it.core.device_lost(it.now + 120'000 * ms));
}

TEST_CASE("decode_core: a Conductor hears of everything held, then of what ended until it says so") {
  auto it = decode_script{};
  it.join(it.reservation(1, 8));
  it.reserve_for(it.reservation(2, 8, 1, 0, 50));
  auto leaving = it.reservation(3, 8, 1, 0, 90);
  it.reserve_for(leaving);
  it.tell(cancel{the_conductor, 5, leaving.id});
  CHECK_EQ(it.count<report>(), 0);
  it.tell(conductor_hello{the_conductor, 5});
  auto first = it.only<report>(the_conductor);
  CHECK(first.full);
  REQUIRE_EQ(first.active.size(), 2);
  CHECK_EQ(first.active[0].tokens, 8);
  CHECK_EQ(first.active[0].placement, 1);
  CHECK_EQ(first.queued_tokens, 16);
  CHECK_EQ(first.running, 1);
  CHECK_EQ(first.waiting, 1);
  CHECK_EQ(first.slots_transfer, 4);
  CHECK_EQ(first.slots_free, 9);
  REQUIRE_EQ(first.ended.size(), 1);
  CHECK_EQ(first.ended[0].id, leaving.id);
  it.step(end_token);
  auto second = it.only<report>(the_conductor);
  CHECK_FALSE(second.full);
  CHECK_EQ(second.ended.size(), 2);
  CHECK_EQ(second.ended[1].tokens, 10);
  REQUIRE_EQ(second.steps.size(), 1);
  CHECK_EQ(second.steps[0].batch, 1);
  CHECK_EQ(second.steps[0].context_tokens, 9);
  it.tell(report_ack{the_conductor, 5, first.sequence});
  it.tick_after(100 * ms);
  CHECK_EQ(it.only<report>(the_conductor).ended.size(), 1);
}
