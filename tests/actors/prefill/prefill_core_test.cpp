// SPDX-License-Identifier: Apache-2.0
#include "tests/actors/prefill/prefill_script.hpp"

using namespace perigee;
using namespace perigee::testing;

TEST_CASE("prefill_core: a job is acknowledged each time it comes, and runs once") {
  auto it = prefill_script{};
  for (auto i = 0; i < 2; ++i) {
    it.tell(it.job(1, 6));
    CHECK_EQ(it.only<job_ack>(the_session).id, ticket_of(1));
  }
  CHECK_EQ(it.core.attempts(), 1);
  CHECK_EQ(it.take_local<run_prefill>().size(), 1);
}

TEST_CASE("prefill_core: what can never run is refused with its reason") {
  auto it = prefill_script{};
  auto none = it.job(1, 0);
  it.tell(none);
  CHECK(it.only<job_failed>(the_session).reason == ec::too_long);
  it.tell(it.job(2, 33)); // Nine blocks; the pool has eight.
  CHECK(it.only<job_failed>(the_session).reason == ec::too_long);
  auto nothing_wanted = it.job(3, 5);
  nothing_wanted.gen.choices.clear();
  it.tell(nothing_wanted);
  CHECK(it.only<job_failed>(the_session).reason == ec::too_long);
  auto foreign_keys = it.job(5, 5);
  foreign_keys.keys = std::vector<block_key>(3); // More than it has blocks.
  it.tell(foreign_keys);
  CHECK(it.only<job_failed>(the_session).reason == ec::too_long);
  it.tell(it.job(4, 32));
  CHECK_EQ(it.count<job_failed>(), 0);
}

TEST_CASE("prefill_core: the queue has a bound, and what was refused may come again later") {
  auto it = prefill_script{8, 2};
  for (auto number : {1u, 2u, 3u})
    it.tell(it.job(number, 32, 0, static_cast<token_id>(1000 * number)));
  CHECK_EQ(it.count<job_ack>(), 2);
  auto refused = it.only<job_failed>(the_session);
  CHECK_EQ(refused.id, ticket_of(3));
  CHECK(refused.reason == ec::overloaded);
  it.compute(); // The first is no longer in the queue.
  it.tell(it.job(3, 32));
  CHECK_EQ(it.only<job_ack>(the_session).id, ticket_of(3));
}

TEST_CASE("prefill_core: jobs of attempts that are over are stale") {
  auto it = prefill_script{};
  it.tell(cancel{the_conductor, 5, ticket_of(1, 2)});
  it.tell(it.job(1, 6, 1));
  CHECK(it.only<job_failed>(the_session).reason == ec::stale);
  it.tell(it.job(1, 6, 2));
  CHECK(it.only<job_failed>(the_session).reason == ec::stale);
  it.tell(it.job(1, 6, 3));
  CHECK_EQ(it.count<job_ack>(), 1);
  CHECK_EQ(it.core.attempts(), 1);
}

TEST_CASE("prefill_core: a higher attempt ends the lower one, and a late repetition of that changes nothing") {
  auto it = prefill_script{};
  it.tell(it.job(1, 6));
  auto lower = it.only_local<run_prefill>();
  it.forget();
  it.tell(it.job(1, 7, 1));
  CHECK_EQ(it.only_local<cancel_work>().id, lower.work.id);
  CHECK_EQ(it.core.attempts(), 2); // The device may still write to its slots.
  it.tell(it.job(1, 6, 0));
  CHECK_EQ(it.count<job_ack>(), 2); // Known still; nothing else follows.
  it.tell(done(lower.work.id, {}, errc::cancelled));
  CHECK_EQ(it.core.attempts(), 1);
  CHECK_EQ(it.only<quiesced>(the_decode).id, ticket_of(1, 0));
  CHECK_EQ(it.count<job_failed>(), 0);
  it.tell(it.job(1, 6, 0));
  CHECK(it.only<job_failed>(the_session).reason == ec::stale);
}

TEST_CASE("prefill_core: a short job does not overtake a long one that waits for slots") {
  auto it = prefill_script{};
  it.tell(it.job(1, 24, 0, 100));
  it.tell(it.job(2, 16, 0, 200));
  it.tell(it.job(3, 4, 0, 300));
  CHECK_EQ(it.free_slots(), 2);
  it.tell(cancel{the_conductor, 5, ticket_of(2)});
  CHECK_EQ(it.only<cancelled>(the_conductor).id, ticket_of(2));
  CHECK_EQ(it.free_slots(), 1); // The third has its block now.
}

TEST_CASE("prefill_core: a job waits for an earlier one that is about to store its prefix, unless that ends") {
  for (auto ending : {"published", "cancelled"}) {
    CAPTURE(ending);
    auto it = prefill_script{16};
    it.tell(peer_up{local_shard, {}});
    it.tell(it.job(1, 12));
    it.tell(it.job(2, 14));
    it.tell(it.job(3, 12, 0, 900)); // Has nothing in common with them.
    auto fetches = it.take_local<fetch>();
    REQUIRE_EQ(fetches.size(), 2);
    for (const auto& item : fetches)
      it.tell(fetched{item.id, 0, 0});
    if (ending == std::string{"cancelled"}) {
      for (const auto& item : it.take_local<run_prefill>())
        it.finish(item.work, std::vector<token_id>(item.work.samples.size(), end_token));
      it.tell(cancel{the_conductor, 5, ticket_of(1)});
    } else {
      it.compute();
      auto stored = it.take_local<publish>();
      REQUIRE_EQ(stored.size(), 2);
      CHECK(it.take_local<fetch>().empty());
      it.tell(published{stored[0].id, 3});
    }
    auto second = it.only_local<fetch>();
    CHECK_EQ(second.keys.size(), 3);
    REQUIRE_EQ(second.plan.size(), 1);
    CHECK_EQ(second.plan[0].shard, local_shard);
  }
}

TEST_CASE("prefill_core: the prefix is fetched as planned, in bounded time, into the job's own slots") {
  auto it = prefill_script{};
  it.tell(peer_up{local_shard, {}});
  it.tell(peer_up{far_shard, {}}); // Not ours.
  auto job = it.job(1, 18);
  job.prefix = {{far_shard, 2}};
  job.deadline_ns = 5'000 * ms;
  it.tell(job);
  auto asked = it.only_local<fetch>();
  CHECK(asked.keys == chain_keys(job.root, job.tokens, 4));
  CHECK_EQ(asked.slots.size(), 4);
  REQUIRE_EQ(asked.plan.size(), 2);
  CHECK_EQ(asked.plan[0].shard, far_shard);
  CHECK_EQ(asked.plan[1].shard, local_shard);
  CHECK_EQ(asked.deadline_ns, 5'000 * ms);
  CHECK(it.take_local<run_prefill>().empty());
  it.tell(fetched{asked.id, 3, 0});
  it.tell(fetched{asked.id, 1, 0}); // A second answer is none.
  auto run = it.only_local<run_prefill>();
  CHECK_EQ(run.work.start, 12);
  CHECK_EQ(run.work.tokens.size(), 6);
  it.tell(peer_down{local_shard});
  it.tell(it.job(2, 8, 0, 50));
  CHECK(it.take_local<fetch>().empty());
}

TEST_CASE("prefill_core: a prompt runs in chunks that end with blocks, two on the device at a time") {
  auto it = prefill_script{};
  auto job = it.job(1, 26);
  job.gen.choices = {{0, 0}, {1, 0}};
  it.tell(job);
  auto items = it.take_local<run_prefill>();
  REQUIRE_EQ(items.size(), 2);
  CHECK_EQ(items[0].work.start, 0);
  CHECK_EQ(items[0].work.tokens.size(), 8);
  CHECK_EQ(items[0].work.blocks.size(), 2);
  CHECK(items[0].work.samples.empty());
  CHECK_EQ(items[1].work.blocks.size(), 4);
  it.finish(items[0].work);
  auto third = it.only_local<run_prefill>().work;
  CHECK_EQ(third.start, 16);
  it.finish(items[1].work);
  auto last = it.only_local<run_prefill>().work;
  CHECK_EQ(last.start, 24);
  CHECK_EQ(last.tokens.size(), 2);
  CHECK_EQ(last.blocks.size(), 7);
  REQUIRE_EQ(last.samples.size(), 2);
  CHECK_EQ(last.samples[1].choice, 1);
  CHECK_EQ(last.samples[0].prompt_tokens, 26);
  CHECK(last.samples[0].history.empty());
  it.finish(third);
  it.forget();
  it.finish(last, {501, 502});
  auto batch = it.only<token_batch>(the_session);
  REQUIRE_EQ(batch.updates.size(), 2);
  CHECK(batch.updates[1].tokens == std::vector<token_id>{502});
  CHECK_EQ(batch.updates[1].choice, 1);
}

TEST_CASE("prefill_core: the sampler gets the tokens where penalties need them") {
  auto it = prefill_script{};
  auto job = it.job(1, 6);
  job.gen.sampling.presence_penalty = 1;
  job.gen.prompt_tokens = 4; // Two were generated before this attempt.
  job.gen.choices = {{3, 2}};
  it.tell(job);
  auto work = it.only_local<run_prefill>().work;
  REQUIRE_EQ(work.samples.size(), 1);
  CHECK(work.samples[0].history == job.tokens);
  CHECK_EQ(work.samples[0].choice, 3);
  CHECK_EQ(work.samples[0].generated, 2);
  it.finish(work, {600});
  auto batch = it.only<token_batch>(the_session);
  CHECK_EQ(batch.updates.at(0).first, 2);
}

TEST_CASE("prefill_core: of a wholly cached prompt the last token is computed into the job's own copy of its block") {
  auto it = prefill_script{};
  it.tell(peer_up{local_shard, {}});
  auto job = it.job(1, 16);
  it.tell(job);
  auto asked = it.only_local<fetch>();
  it.tell(fetched{asked.id, 4, 0});
  auto work = it.only_local<run_prefill>().work;
  CHECK_EQ(work.start, 15);
  CHECK(work.tokens == std::vector<token_id>{16});
  CHECK(work.blocks == asked.slots);
  it.grant(job.id, 4);
  auto prefix = it.only_local<move_blocks>();
  REQUIRE_EQ(prefix.pieces.size(), 3); // Whole blocks; the last goes out as its layers are done.
  CHECK_EQ(prefix.pieces[0].bytes, 128);
  it.finish(work);
  auto layers = it.take_local<move_blocks>();
  REQUIRE_EQ(layers.size(), 2);
  CHECK_EQ(layers[1].pieces.at(0).local_offset, asked.slots[3] * 128 + 64);
  CHECK_EQ(layers[1].pieces.at(0).remote_offset, 103 * 128 + 64);
  CHECK_EQ(layers[1].pieces.at(0).bytes, 64);
  auto announced = it.only<handed_over>(the_decode);
  CHECK_EQ(announced.reused, 15);
  CHECK_EQ(announced.pieces, 3);
  CHECK_EQ(it.only<token_batch>(the_session).updates.at(0).reused, 15);
  CHECK(it.take_local<publish>().empty()); // The local shard has all of it.
}

TEST_CASE("prefill_core: behind a prefix of the local shard only new blocks are offered, with the one before them") {
  auto it = prefill_script{};
  it.tell(peer_up{local_shard, {}});
  auto job = it.job(1, 14);
  job.prefix = {{local_shard, 2}};
  it.tell(job);
  it.tell(fetched{it.only_local<fetch>().id, 2, 0});
  it.compute(end_token);
  it.forget();
  auto offered = it.only_local<publish>();
  CHECK(offered.keys == std::vector<block_key>(job.keys.begin() + 1, job.keys.begin() + 3));
}

TEST_CASE("prefill_core: full blocks are offered to the shards, and the slots stay until that ended") {
  auto it = prefill_script{};
  it.tell(peer_up{local_shard, {}});
  auto job = it.job(1, 14);
  job.prefix = {{far_shard, 2}};
  it.tell(job);
  it.tell(fetched{it.only_local<fetch>().id, 2, 0});
  it.compute(end_token);
  it.forget();
  auto offered = it.only_local<publish>();
  CHECK_EQ(offered.keys.size(), 3); // A copy of a far block becomes a replica here; the partial block has no key.
  CHECK_EQ(it.core.attempts(), 1);
  it.tell(published{offered.id + 2, 0}); // Somebody else's.
  CHECK_EQ(it.core.attempts(), 1);
  it.tell(published{offered.id, 3});
  CHECK(it.empty());
  it.tell(published{offered.id, 3});
  CHECK(it.empty());

  auto keeps_nothing = prefill_script{8, 4, false};
  keeps_nothing.tell(keeps_nothing.job(1, 14));
  keeps_nothing.compute(end_token);
  CHECK(keeps_nothing.take_local<publish>().empty());
  CHECK(keeps_nothing.empty());
}

TEST_CASE("prefill_core: a device error ends the attempt, a broken device the instance") {
  for (auto code : {errc::invalid_argument, errc::io_error}) {
    auto it = prefill_script{};
    it.tell(it.job(1, 6));
    auto work = it.only_local<run_prefill>().work;
    it.tell(done(work.id, {}, code));
    CHECK(it.only<job_failed>(the_session).reason == ec::instance_failed);
    auto told = it.take_sent<token_batch>();
    REQUIRE_EQ(told.size(), 1);
    CHECK(told[0].second.updates.at(0).finish == finish_reason::failed);
    CHECK(it.empty());
    CHECK_EQ(it.core.device_lost(it.now), code == errc::io_error);
  }
}

TEST_CASE("prefill_core: a device that is silent for too long is lost") {
  auto it = prefill_script{};
  it.tell(it.job(1, 6));
  CHECK_FALSE(it.core.device_lost(it.now + 119'999 * ms));
  CHECK(it.core.device_lost(it.now + 120'000 * ms));
  it.compute();
  CHECK_FALSE(it.core.device_lost(it.now + 120'000 * ms));
}

TEST_CASE("prefill_core: a Conductor hears of everything held, then of what ended until it says so") {
  auto it = prefill_script{};
  it.tell(it.job(1, 20, 0, 100));
  it.tell(it.job(2, 6, 0, 200));
  CHECK_EQ(it.count<report>(), 0);
  it.tell(conductor_hello{the_conductor, 5});
  auto first = it.only<report>(the_conductor);
  CHECK(first.full);
  CHECK_EQ(first.active.size(), 2);
  CHECK_EQ(first.active[0].tokens, 4); // Of 20, two chunks of 8 are on the device.
  CHECK_EQ(first.queued_tokens, 10);
  CHECK_EQ(first.waiting, 1);
  CHECK_EQ(first.running, 1);
  CHECK_EQ(first.slots_total, 8);
  CHECK_EQ(first.slots_free, 1);
  CHECK_EQ(first.token_capacity, 32);
  it.compute(end_token);
  it.publish_all();
  auto last = report{};
  for (const auto& [to, news] : it.take_sent<report>())
    last = news;
  CHECK_FALSE(last.full);
  CHECK(last.active.empty());
  CHECK_EQ(last.ended.size(), 2);
  CHECK_EQ(last.ended[1].placement, 2);
  it.tick_after(100 * ms);
  auto again = it.only<report>(the_conductor);
  CHECK_EQ(again.ended.size(), 2);
  it.tell(report_ack{the_conductor, 5, again.sequence});
  it.tick_after(100 * ms);
  CHECK(it.only<report>(the_conductor).ended.empty());
  it.tell(conductor_hello{{role::conductor, 0, 0, 4}, 4}); // Of the past.
  CHECK_EQ(it.count<report>(), 0);
  it.tell(peer_down{the_conductor});
  it.tick_after(1'000 * ms);
  CHECK_EQ(it.count<report>(), 0);
}

TEST_CASE("prefill_core: tokens are repeated until the session has them, and die with it") {
  auto it = prefill_script{};
  it.hand_over(it.job(1, 6));
  CHECK_EQ(it.count<token_batch>(), 1);
  it.tick_after(250 * ms);
  CHECK_EQ(it.only<token_batch>(the_session).updates.size(), 1);
  it.tell(token_acks{the_session, {{ticket_of(1), 0, 1, false}}});
  it.tick_after(250 * ms);
  CHECK_EQ(it.count<token_batch>(), 0);
  it.hand_over(it.job(2, 6, 0, 50));
  it.forget();
  it.tell(peer_down{the_session});
  it.tick_after(1'000 * ms);
  CHECK_EQ(it.count<token_batch>(), 0);
}
