// SPDX-License-Identifier: Apache-2.0
#include "tests/actors/decode/decode_script.hpp"

using namespace perigee;
using namespace perigee::testing;

namespace {

/// A shard on the decode instance's own node.
constexpr auto shard_here = address{role::shard, 4, the_decode.node, 44};

struct prompt_script : decode_script {
  explicit prompt_script(uint32_t slots = 16, coupling how = coupling::none, bool has_shard = false)
    : decode_script(with(slots, how)) {
    if (has_shard)
      tell(peer_up{shard_here, {}});
  }

  static decode_options with(uint32_t slots, coupling how) {
    auto options = options_for(slots, 4, true);
    options.coupled = how;
    options.chunk_tokens = 8;
    options.local_shard = shard_here.index;
    options.prompts_max = 4;
    return options;
  }

  /// Of a prompt of `tokens` tokens, of whose blocks the first `cached` are at `far_shard`.
  static prefill_job job(uint64_t number, uint32_t tokens, uint32_t cached = 0, uint32_t attempt = 0,
                         token_id first = 1) {
    auto made = own_job(reservation(number, tokens, 1, attempt, first));
    if (cached > 0)
      made.prefix = {{far_shard, cached}};
    return made;
  }

  /// The device finishes the chunk it has; returns it.
  kernels::prefill_work chunk(token_id token = 500) {
    auto work = only_local<run_prefill>().work;
    tell(done(work.id, std::vector<token_id>(work.samples.size(), token)));
    return work;
  }

  void fetch_all() {
    for (const auto& ask : take_local<fetch>())
      tell(fetched{ask.id, static_cast<uint32_t>(ask.keys.size())});
  }
};

} // namespace

TEST_CASE("decode_prompts: what is not cached is computed here, and the sequence goes on from its first token") {
  auto it = prompt_script{};
  auto request = prompt_script::job(1, 21, 2);
  it.tell(request);
  CHECK_EQ(it.only<job_ack>(the_session).id, ticket_of(1));
  auto ask = it.only_local<fetch>();
  CHECK_EQ(ask.keys.size(), 2);
  CHECK_EQ(ask.slots.size(), 2);
  CHECK(it.take_local<run_prefill>().empty());
  it.tell(fetched{ask.id, 2});
  auto first = it.chunk();
  CHECK_EQ(first.start, 8);
  CHECK_EQ(first.tokens.size(), 8);
  CHECK_EQ(first.blocks.size(), 4);
  CHECK(std::equal(ask.slots.begin(), ask.slots.end(), first.blocks.begin()));
  CHECK(first.samples.empty());
  auto last = it.chunk();
  CHECK_EQ(last.start, 16);
  CHECK_EQ(last.tokens.size(), 5);
  REQUIRE_EQ(last.samples.size(), 1);
  CHECK_EQ(last.samples[0].generated, 0);
  auto news = it.only<token_batch>(the_session);
  REQUIRE_EQ(news.updates.size(), 1);
  CHECK_EQ(news.updates[0].reused, 8);
  CHECK_EQ(news.updates[0].tokens[0], 500);
  auto offered = it.only_local<publish>();
  CHECK(offered.keys == std::vector<block_key>(request.keys.begin() + 2, request.keys.end()));
  CHECK(offered.shard == far_shard.index); // Where its prefix is.
  auto rows = it.step(end_token).rows;
  REQUIRE_EQ(rows.size(), 1);
  CHECK_EQ(rows[0].position, 21);
  CHECK_EQ(rows[0].token, 500);
  CHECK_EQ(it.core.attempts(), 0);
  CHECK_EQ(it.slots(slot_state::live), 3); // The shard has not read them yet.
  it.tell(published{offered.id, 3});
  CHECK(it.empty());
}

TEST_CASE("decode_prompts: an iteration is a chunk and a step; with prefill-first sequences wait") {
  auto stalled = prompt_script{16, coupling::prefill_first};
  stalled.join(stalled.reservation(1, 4));
  stalled.tell(prompt_script::job(2, 20, 0, 0, 50));
  stalled.step(); // Began before.
  for (auto i = 0; i < 3; ++i) {
    CHECK(stalled.take_local<run_decode>().empty());
    stalled.chunk();
  }
  CHECK_EQ(stalled.step().rows.size(), 2);
  auto mixed = prompt_script{16, coupling::chunked};
  mixed.join(mixed.reservation(1, 4));
  mixed.tell(prompt_script::job(2, 20, 0, 0, 50));
  CHECK_EQ(mixed.step().rows.size(), 1);
  for (auto i = 0; i < 2; ++i) {
    mixed.chunk();
    CHECK_EQ(mixed.step().rows.size(), 1);
  }
  mixed.chunk();
  CHECK_EQ(mixed.step().rows.size(), 1); // Made up before the prompt was computed.
  CHECK_EQ(mixed.step().rows.size(), 2);
}

TEST_CASE("decode_prompts: a second copy of a job is acknowledged, also when its sequence runs or just ended") {
  auto it = prompt_script{};
  auto request = prompt_script::job(1, 5);
  it.tell(request);
  it.tell(request);
  CHECK_EQ(it.count<job_ack>(), 2);
  it.chunk();
  it.tell(request);
  CHECK_EQ(it.count<job_ack>(), 1);
  it.step(end_token);
  it.publish_all();
  it.tell(request); // Its tokens are not acknowledged yet: nothing is lost.
  CHECK_EQ(it.count<job_ack>(), 1);
  it.tell(token_acks{the_session, {{ticket_of(1), 0, 2, true}}});
  it.tell(request);
  CHECK(it.only<job_failed>(the_session).reason == ec::stale);
  CHECK(it.empty());
}

TEST_CASE("decode_prompts: what cannot be taken is refused with the reason") {
  auto it = prompt_script{4};
  it.tell(prompt_script::job(1, 17));
  CHECK(it.only<job_failed>(the_session).reason == ec::too_long);
  for (auto number = uint64_t{2}; number < 7; ++number)
    it.tell(prompt_script::job(number, 10, 0, 0, static_cast<token_id>(50 * number)));
  auto failed = it.take_sent<job_failed>();
  REQUIRE_EQ(failed.size(), 1);
  CHECK(failed[0].second.reason == ec::overloaded);
}

TEST_CASE("decode_prompts: prompts wait for slots in order, and leave a block for each sequence") {
  auto it = prompt_script{6};
  it.tell(prompt_script::job(1, 12));
  it.tell(prompt_script::job(2, 12, 0, 0, 50));
  it.tell(prompt_script::job(3, 2, 0, 0, 90));
  it.chunk();
  it.chunk();
  CHECK_EQ(it.slots(slot_state::free), 0);
  it.take_local<publish>();
  CHECK_EQ(it.chunk().tokens.size(), 8); // The second has slots: 6 were free when there was no sequence.
}

TEST_CASE("decode_prompts: cancelled at any time, its slots stay until nothing touches them") {
  SUBCASE("while it waits for slots") {
    auto it = prompt_script{3};
    it.tell(prompt_script::job(1, 12));
    it.tell(prompt_script::job(2, 12, 0, 0, 50));
    it.tell(cancel{the_conductor, 5, ticket_of(2)});
    CHECK_EQ(it.only<cancelled>(the_conductor).id, ticket_of(2));
    CHECK_EQ(it.core.attempts(), 1);
  }
  SUBCASE("while its prefix is read") {
    auto it = prompt_script{};
    it.tell(prompt_script::job(1, 12, 2));
    auto ask = it.only_local<fetch>();
    it.tell(cancel{the_conductor, 5, ticket_of(1)});
    CHECK_EQ(it.only<cancelled>(the_conductor).id, ticket_of(1));
    CHECK_EQ(it.only_local<cancel_store>().id, ask.id);
    CHECK_EQ(it.slots(slot_state::live), 3);
    it.tell(fetched{ask.id, 0});
    CHECK(it.empty());
  }
  SUBCASE("while a chunk runs") {
    auto it = prompt_script{};
    it.tell(prompt_script::job(1, 12));
    auto work = it.only_local<run_prefill>().work;
    it.tell(cancel{the_conductor, 5, ticket_of(1)});
    CHECK_EQ(it.only_local<cancel_work>().id, work.id);
    CHECK_EQ(it.slots(slot_state::live), 3);
    it.tell(done(work.id, {}, errc::cancelled));
    CHECK(it.empty());
    CHECK_EQ(it.count<token_batch>(), 0);
  }
  SUBCASE("by the death of its session") {
    auto it = prompt_script{};
    it.tell(prompt_script::job(1, 12));
    auto work = it.only_local<run_prefill>().work;
    it.tell(peer_down{the_session});
    it.tell(done(work.id, {}, errc::cancelled));
    CHECK(it.empty());
    it.tick_after(250 * ms);
    CHECK_EQ(it.count<token_batch>(), 0);
  }
  SUBCASE("by a higher attempt, after which a late copy of the lower one is stale") {
    auto it = prompt_script{};
    it.tell(prompt_script::job(1, 12));
    auto work = it.only_local<run_prefill>().work;
    it.tell(prompt_script::job(1, 12, 0, 1));
    it.tell(prompt_script::job(1, 12));
    CHECK(it.take_sent<job_failed>().empty()); // It is still leaving.
    it.tell(done(work.id, {}, errc::cancelled));
    it.tell(prompt_script::job(1, 12));
    CHECK(it.only<job_failed>(the_session).reason == ec::stale);
    CHECK_EQ(it.chunk().start, 0);
    it.chunk();
    it.step(end_token);
    it.publish_all();
    CHECK(it.empty());
  }
}

TEST_CASE("decode_prompts: a device that fails and a deadline are told to the session") {
  auto it = prompt_script{};
  it.tell(prompt_script::job(1, 12));
  it.tell(done(it.only_local<run_prefill>().work.id, {}, errc::invalid_argument));
  CHECK(it.only<job_failed>(the_session).reason == ec::instance_failed);
  auto ended = it.finishes();
  REQUIRE_EQ(ended.size(), 1);
  CHECK(ended[0].second == finish_reason::failed);
  CHECK(it.empty());

  auto request = prompt_script::job(2, 12, 2);
  request.deadline_ns = 100 * ms;
  it.tell(request);
  it.tick_after(150 * ms);
  CHECK(it.only<job_failed>(the_session).reason == ec::deadline);
  it.tell(fetched{it.only_local<fetch>().id, 0});
  CHECK(it.empty());
}

TEST_CASE("decode_prompts: with a shard of its own it waits for what an earlier prompt is about to store there") {
  auto it = prompt_script{16, coupling::chunked, true};
  it.tell(prompt_script::job(1, 12));
  it.tell(prompt_script::job(2, 12));
  auto ask = it.only_local<fetch>(); // Of the first.
  it.tell(fetched{ask.id, 0});
  it.chunk();
  it.chunk();
  CHECK(it.take_local<fetch>().empty());
  auto offered = it.only_local<publish>();
  CHECK_EQ(offered.keys.size(), 3);
  CHECK(!offered.shard);
  it.tell(published{offered.id, 3});
  ask = it.only_local<fetch>();
  it.tell(fetched{ask.id, 3});
  it.step(end_token);
  auto last = it.chunk(); // The last token is always computed.
  CHECK_EQ(last.start, 11);
  CHECK_EQ(last.tokens.size(), 1);
  it.step(end_token);
  it.publish_all();
  CHECK(it.empty());
}

TEST_CASE("decode_prompts: a sequence that needs a block waits for a prompt that holds the rest of the pool") {
  auto it = prompt_script{7};
  it.join(it.reservation(1, 8));
  it.tell(prompt_script::job(2, 12, 0, 0, 50)); // 3 of the 4 free blocks: one is left for the sequence.
  auto rows = size_t{0};
  auto computed = false;
  for (auto i = 0; i < 40 && it.core.attempts() == 2; ++i) {
    for (const auto& work : it.take_local<run_prefill>()) {
      computed = true;
      it.tell(done(work.work.id, std::vector<token_id>(work.work.samples.size(), 500)));
    }
    for (const auto& work : it.take_local<run_decode>()) {
      rows = std::max(rows, work.work.rows.size());
      it.tell(done(work.work.id, std::vector<token_id>(work.work.rows.size(), 600)));
    }
    it.publish_all();
  }
  CHECK(computed);
  CHECK_EQ(rows, 2);
  auto ended = it.finishes();
  REQUIRE_EQ(ended.size(), 1);
  CHECK(ended[0] == std::pair{ticket_of(2), finish_reason::preempted}); // The younger one.
}
