// SPDX-License-Identifier: Apache-2.0
#include "tests/actors/prefill/prefill_script.hpp"

using namespace perigee;
using namespace perigee::testing;

namespace {

/// A job whose decode instance was just asked, its first chunk on the device.
kernels::prefill_work asked(prefill_script& it, uint32_t tokens = 6) {
  it.tell(it.job(1, tokens));
  CHECK_EQ(it.only<reserve>(the_decode).revision, 0);
  return it.only_local<run_prefill>().work;
}

redirected elsewhere(uint32_t revision, const address& decode, ec reason = ec::none, uint64_t term = 5) {
  return {the_conductor, term, ticket_of(1), revision, reason, decode};
}

} // namespace

TEST_CASE("prefill_core: decode is asked before the first layer, gets each layer when it is done, and joins") {
  for (auto joins_first : {false, true}) {
    CAPTURE(joins_first);
    auto it = prefill_script{};
    it.tell(it.job(1, 10));
    auto reservation = it.only<reserve>(the_decode);
    CHECK_EQ(reservation.session, the_session);
    CHECK_EQ(reservation.tokens.size(), 10);
    CHECK_EQ(reservation.deadline_ns, 60'000 * ms);
    auto items = it.take_local<run_prefill>();
    REQUIRE_EQ(items.size(), 2);
    it.grant(ticket_of(1), 3);
    it.tell(layer_done{items[0].work.id, 0});
    auto first = it.only_local<move_blocks>();
    CHECK(first.peer == the_decode);
    CHECK_EQ(first.local, 3);
    CHECK_EQ(first.remote.key, 8);
    CHECK(first.immediate == 55u);
    CHECK_EQ(first.pieces.size(), 2);
    CHECK_EQ(first.deadline_ns, 10'000 * ms);
    it.tell(layer_done{items[0].work.id, 1});
    it.tell(done(items[0].work.id));
    it.finish(items[1].work);
    auto announced = it.only<handed_over>(the_decode);
    CHECK_EQ(announced.pieces, 4);
    CHECK_EQ(announced.bytes, 6 * 64);
    CHECK(announced.first_tokens == std::vector<token_id>{500});
    it.publish_all();
    it.tell(ended_move(first.id));
    if (joins_first)
      it.tell(joined{the_decode, ticket_of(1)});
    CHECK_EQ(it.move_all(), 3);
    CHECK_EQ(it.core.attempts(), joins_first ? 0 : 1);
    it.tell(joined{the_decode, ticket_of(1)});
    CHECK(it.empty());
    it.tick_after(60'000 * ms);
    CHECK_EQ(it.count<quiesced>(), 0);
    CHECK_EQ(it.count<token_batch>(), 1); // From here on the decode instance tells the session.
    CHECK_EQ(it.count<job_failed>(), 0);
  }
}

TEST_CASE("prefill_core: what is computed before the grant goes out with it, whole prefix first") {
  auto it = prefill_script{};
  auto work = asked(it);
  it.finish(work);
  CHECK(it.take_local<move_blocks>().empty());
  CHECK_EQ(it.count<handed_over>(), 0);
  it.grant(ticket_of(1), 2);
  CHECK_EQ(it.take_local<move_blocks>().size(), 2);
  CHECK_EQ(it.only<handed_over>(the_decode).pieces, 2);
  it.grant(ticket_of(1), 2); // Repeated.
  CHECK(it.take_local<move_blocks>().empty());
  CHECK_EQ(it.count<handed_over>(), 0);
}

TEST_CASE("prefill_core: a grant from elsewhere or of the wrong size is not written to") {
  auto it = prefill_script{};
  auto work = asked(it);
  it.grant(ticket_of(1), 2, other_decode);
  it.tell(layer_done{work.id, 0});
  CHECK(it.take_local<move_blocks>().empty());
  it.grant(ticket_of(1), 3);
  CHECK(it.take_local<move_blocks>().empty());
  it.tell(done(work.id, {}, errc::cancelled));
  CHECK(it.only<job_failed>(the_session).reason == ec::instance_failed);
  CHECK(it.only<quiesced>(the_decode).clean);
  CHECK(it.empty());
}

TEST_CASE("prefill_core: a joined that was not announced, or comes from elsewhere, changes nothing") {
  auto it = prefill_script{};
  auto work = asked(it);
  it.tell(joined{the_decode, ticket_of(1)});
  it.grant(ticket_of(1), 2);
  it.tell(joined{the_decode, ticket_of(1)});
  it.finish(work);
  it.tell(joined{other_decode, ticket_of(1)});
  it.publish_all();
  it.move_all();
  CHECK_EQ(it.core.attempts(), 1);
}

TEST_CASE("prefill_core: a refused reservation is placed again, with what is computed so far") {
  auto it = prefill_script{};
  it.tell(conductor_hello{the_conductor, 5});
  auto work = asked(it);
  it.tell(refused{the_decode, ticket_of(1), 7, ec::out_of_blocks}); // Of another revision.
  CHECK_EQ(it.count<redirect>(), 0);
  it.tell(refused{the_decode, ticket_of(1), 0, ec::out_of_blocks});
  CHECK_EQ(it.only<redirect>(the_conductor).revision, 0);
  it.tell(refused{the_decode, ticket_of(1), 0, ec::out_of_blocks});
  CHECK_EQ(it.count<redirect>(), 0);
  it.finish(work);
  it.tell(elsewhere(1, other_decode));
  auto again = it.only<reserve>(other_decode);
  CHECK_EQ(again.revision, 1);
  it.tell(elsewhere(2, the_decode)); // It has its answer.
  CHECK_EQ(it.count<reserve>(), 0);
  it.grant(ticket_of(1), 2, other_decode);
  CHECK_EQ(it.only<handed_over>(other_decode).pieces, 2);
  it.publish_all();
  it.move_all();
  it.tell(joined{other_decode, ticket_of(1)});
  CHECK(it.empty());
  CHECK_EQ(it.count<quiesced>(), 0); // The one that refused holds nothing.
}

TEST_CASE("prefill_core: sent back to the instance that refused, it asks there after a while") {
  auto it = prefill_script{};
  it.tell(conductor_hello{the_conductor, 5});
  asked(it);
  it.tell(refused{the_decode, ticket_of(1), 0, ec::out_of_blocks});
  it.tell(elsewhere(1, the_decode));
  CHECK_EQ(it.count<reserve>(), 0);
  it.tick_after(250 * ms);
  CHECK_EQ(it.only<reserve>(the_decode).revision, 1);
}

TEST_CASE("prefill_core: without any decode room it asks again until its deadline, what is computed stays computed") {
  auto it = prefill_script{};
  it.tell(conductor_hello{the_conductor, 5});
  auto work = asked(it);
  it.tell(refused{the_decode, ticket_of(1), 0, ec::out_of_blocks});
  it.finish(work);
  it.publish_all();
  for (auto i = 0; i < 200; ++i) {
    it.tick_after(250 * ms);
    it.tell(elsewhere(0, {}, ec::out_of_blocks));
  }
  CHECK_EQ(it.core.attempts(), 1);
  it.tick_after(10'000 * ms);
  CHECK(it.only<job_failed>(the_session).reason == ec::deadline);
  CHECK(it.empty());
}

TEST_CASE("prefill_core: a Conductor that knows nothing of the attempt ends it; one of the past is not heard") {
  auto it = prefill_script{};
  it.tell(conductor_hello{next_conductor, 6});
  auto work = asked(it);
  it.tell(refused{the_decode, ticket_of(1), 0, ec::out_of_blocks});
  CHECK_EQ(it.count<redirect>(), 1);
  it.tell(elsewhere(1, other_decode)); // Term 5.
  it.tell(elsewhere(0, {}, ec::stale));
  CHECK_EQ(it.count<reserve>(), 0);
  CHECK_EQ(it.core.attempts(), 1);
  auto answer = elsewhere(0, {}, ec::stale, 6);
  answer.from = next_conductor;
  it.tell(answer);
  it.tell(done(work.id, {}, errc::cancelled));
  CHECK(it.only<job_failed>(the_session).reason == ec::stale);
  CHECK(it.empty());
}

TEST_CASE("prefill_core: a decode instance that answers nothing, not even to a reservation, ends the attempt") {
  auto it = prefill_script{};
  auto work = asked(it);
  it.finish(work);
  it.publish_all();
  it.move_all();
  for (auto i = 0; i < 39; ++i) {
    it.tick_after(250 * ms);
    REQUIRE_EQ(it.count<reserve>(), 1);
  }
  it.tick_after(250 * ms);
  CHECK(it.only<job_failed>(the_session).reason == ec::peer_lost);
  CHECK_EQ(it.only<quiesced>(the_decode).clean, true); // The reservation may have arrived.
  CHECK(it.empty());
}

TEST_CASE("prefill_core: an announcement is repeated, and counted only once all bytes are out") {
  auto it = prefill_script{};
  it.hand_over(it.job(1, 6));
  it.publish_all();
  CHECK_EQ(it.count<handed_over>(), 1);
  for (auto i = 0; i < 100; ++i) {
    it.tick_after(250 * ms);
    REQUIRE_EQ(it.count<handed_over>(), 1);
  }
  it.move_all();
  for (auto i = 0; i < 40; ++i) {
    it.tick_after(250 * ms);
    REQUIRE_EQ(it.count<handed_over>(), 1);
  }
  it.tick_after(250 * ms);
  CHECK(it.only<job_failed>(the_session).reason == ec::peer_lost);
  CHECK(it.empty());
}

TEST_CASE("prefill_core: a decode instance that gave the attempt up is believed") {
  auto it = prefill_script{};
  it.hand_over(it.job(1, 6));
  it.publish_all();
  it.move_all();
  it.tell(refused{the_decode, ticket_of(1), 0, ec::stale});
  CHECK(it.only<job_failed>(the_session).reason == ec::peer_lost);
  CHECK(it.empty());
}

TEST_CASE("prefill_core: a request that ends with its first token cancels the hand-over") {
  for (auto state : {"asked", "granted", "refused"}) {
    CAPTURE(state);
    auto it = prefill_script{};
    it.tell(conductor_hello{the_conductor, 5});
    auto work = asked(it);
    if (state == std::string{"granted"})
      it.grant(ticket_of(1), 2);
    if (state == std::string{"refused"})
      it.tell(refused{the_decode, ticket_of(1), 0, ec::out_of_blocks});
    it.finish(work, {end_token});
    auto batch = it.only<token_batch>(the_session);
    CHECK(batch.updates.at(0).finish == finish_reason::stop);
    it.publish_all();
    it.move_all(); // Layers that were on their way.
    CHECK(it.empty());
    CHECK_EQ(it.count<handed_over>(), 0);
    CHECK_EQ(it.count<quiesced>(), state == std::string{"refused"} ? 0 : 1);
    it.tick_after(250 * ms);
    CHECK_EQ(it.count<quiesced>(), state == std::string{"refused"} ? 0 : 1);
    it.tell(quiesced_ack{the_decode, ticket_of(1)});
    it.tick_after(250 * ms);
    CHECK_EQ(it.count<quiesced>(), 0);
  }
}

TEST_CASE("prefill_core: max_tokens 1 ends with the first token too, and one choice that goes on hands over") {
  auto it = prefill_script{};
  auto job = it.job(1, 6);
  job.gen.max_tokens = 1;
  it.tell(job);
  it.compute();
  CHECK(it.only<token_batch>(the_session).updates.at(0).finish == finish_reason::length);
  CHECK_EQ(it.count<handed_over>(), 0);

  auto two = prefill_script{};
  job = two.job(1, 6);
  job.gen.choices = {{0, 0}, {1, 0}};
  two.tell(job);
  two.finish(two.only_local<run_prefill>().work, {end_token, 501});
  two.grant(job.id, 2);
  CHECK_EQ(two.count<handed_over>(), 1);
  two.tell(joined{the_decode, job.id});
  two.forget();
  two.tick_after(250 * ms);
  auto again = two.only<token_batch>(the_session);
  REQUIRE_EQ(again.updates.size(), 1); // The choice that ended here; the other is the decode instance's.
  CHECK_EQ(again.updates[0].choice, 0);
}

TEST_CASE("prefill_core: first tokens are left to a decode instance that tells them, but those that end a choice") {
  for (auto tells_first : {false, true}) {
    CAPTURE(tells_first);
    auto it = prefill_script{};
    auto job = it.job(1, 6);
    job.gen.choices = {{0, 0}, {1, 0}};
    it.tell(job);
    it.grant(job.id, 2, the_decode, tells_first);
    it.finish(it.only_local<run_prefill>().work, {501, end_token});
    auto batch = it.only<token_batch>(the_session);
    REQUIRE_EQ(batch.updates.size(), tells_first ? 1 : 2);
    CHECK(batch.updates.back().choice == 1);
    CHECK(batch.updates.back().finish == finish_reason::stop);
    CHECK(it.only<handed_over>(the_decode).first_tokens == std::vector<token_id>{501, end_token});
    it.tell(joined{the_decode, job.id});
    it.move_all();
    it.publish_all();
    CHECK(it.empty());
  }
}

TEST_CASE(
  "prefill_core: of an attempt that fails with its first token left to decode, the session is told all choices") {
  auto it = prefill_script{};
  auto job = it.job(1, 6);
  it.tell(job);
  it.grant(job.id, 2, the_decode, true);
  it.finish(it.only_local<run_prefill>().work);
  CHECK_EQ(it.count<token_batch>(), 0);
  it.tell(peer_down{the_decode});
  it.move_all();
  it.publish_all();
  CHECK(it.only<job_failed>(the_session).reason == ec::peer_lost);
  auto batch = it.only<token_batch>(the_session);
  REQUIRE_EQ(batch.updates.size(), 1);
  CHECK(batch.updates[0].tokens.empty());
  CHECK(batch.updates[0].finish == finish_reason::failed);
  CHECK(it.empty());
}

TEST_CASE("prefill_core: a failed write ends the attempt; only where it may still land must decode fence") {
  for (auto code : {errc::peer_lost, errc::timed_out, errc::cancelled, errc::exhausted, errc::io_error}) {
    CAPTURE(to_string(code));
    auto it = prefill_script{};
    it.hand_over(it.job(1, 6));
    it.publish_all();
    auto moves = it.take_local<move_blocks>();
    REQUIRE_EQ(moves.size(), 2);
    it.tell(ended_move(moves[0].id, code));
    CHECK_EQ(it.only_local<cancel_move>().id, moves[1].id);
    CHECK_EQ(it.count<quiesced>(), 0); // The other write goes on.
    it.tell(ended_move(moves[1].id, errc::cancelled));
    CHECK_EQ(it.only<quiesced>(the_decode).clean, code != errc::peer_lost && code != errc::timed_out);
    CHECK(it.only<job_failed>(the_session).reason == ec::peer_lost);
    CHECK(it.empty());
  }
}

TEST_CASE("prefill_core: a write that fails after the request ended with its first token fails nothing") {
  auto it = prefill_script{};
  auto work = asked(it);
  it.grant(ticket_of(1), 2);
  it.finish(work, {end_token});
  it.publish_all();
  CHECK_EQ(it.move_all(errc::timed_out), 2);
  CHECK(it.empty());
  CHECK_EQ(it.count<job_failed>(), 0);
  CHECK_FALSE(it.only<quiesced>(the_decode).clean);
}

TEST_CASE("prefill_core: cancel is answered when nothing touches the slots any more, in every state") {
  for (auto state : {"unknown", "queued", "fetching", "ready", "computing", "computed", "joined", "closing"}) {
    CAPTURE(state);
    auto is = [&](const char* name) { return state == std::string{name}; };
    auto it = prefill_script{};
    if (is("queued"))
      it.tell(it.job(9, 32, 0, 1000)); // Takes all slots.
    if (is("ready")) {
      it.tell(it.job(9, 16, 0, 1000)); // Fills the device.
      CHECK_EQ(it.take_local<run_prefill>().size(), 2);
    }
    if (is("fetching"))
      it.tell(peer_up{local_shard, {}});
    auto others = it.core.attempts();
    auto occupied = it.free_slots();
    if (!is("unknown"))
      it.tell(it.job(1, 8));
    if (is("computed") || is("joined") || is("closing")) {
      it.compute();
      it.grant(ticket_of(1), 2);
    }
    if (is("joined"))
      it.tell(joined{the_decode, ticket_of(1)});
    if (is("closing"))
      it.tell(peer_down{the_session});
    it.forget();
    it.tell(cancel{the_conductor, 5, ticket_of(1)});
    auto waits = is("fetching") || is("computing") || is("computed") || is("joined") || is("closing");
    CHECK_EQ(it.count<cancelled>(), waits ? 0 : 1);
    if (is("fetching")) {
      auto asked = it.only_local<fetch>();
      CHECK_EQ(it.only_local<cancel_store>().id, asked.id);
      it.tell(fetched{asked.id, 0, 0});
    }
    if (is("computing")) {
      auto work = it.only_local<run_prefill>().work;
      CHECK_EQ(it.only_local<cancel_work>().id, work.id);
      it.tell(layer_done{work.id, 0});
      it.tell(done(work.id, {}, errc::cancelled));
    }
    if (is("computed") || is("joined") || is("closing")) {
      it.publish_all();
      CHECK_EQ(it.count<cancelled>(), 0);
      it.move_all(errc::cancelled);
    }
    CHECK_EQ(it.count<cancelled>(), waits ? 1 : 0);
    CHECK_EQ(it.core.attempts(), others);
    CHECK_EQ(it.free_slots(), occupied);
    CHECK_EQ(it.count<job_failed>(), 0);             // Nobody waits for it.
    it.tell(cancel{the_conductor, 5, ticket_of(1)}); // Repeated.
    CHECK_EQ(it.count<cancelled>(), 1);
    it.tell(it.job(1, 8)); // Late.
    CHECK(it.only<job_failed>(the_session).reason == ec::stale);
  }
}

TEST_CASE("prefill_core: a deadline ends the attempt wherever it is, and the session is told until it heard") {
  for (auto state : {"queued", "computing", "granted"}) {
    CAPTURE(state);
    auto it = prefill_script{};
    if (state == std::string{"queued"})
      it.tell(it.job(9, 32, 0, 1000));
    auto job = it.job(1, 8);
    job.deadline_ns = 1'000 * ms;
    it.tell(job);
    auto others = it.core.attempts() - 1;
    if (state == std::string{"granted"}) {
      it.compute();
      it.grant(job.id, 2);
      it.publish_all();
    }
    it.tick_after(999 * ms);
    CHECK_EQ(it.count<job_failed>(), 0);
    it.tick_after(1 * ms);
    it.move_all(errc::cancelled);
    if (state == std::string{"computing"})
      it.tell(done(it.only_local<run_prefill>().work.id, {}, errc::cancelled));
    CHECK(it.only<job_failed>(the_session).reason == ec::deadline);
    CHECK_EQ(it.core.attempts(), others);
    it.forget();
    it.tick_after(250 * ms);
    auto batch = it.only<token_batch>(the_session);
    CHECK(batch.updates.at(0).finish == finish_reason::failed);
    it.tell(token_acks{the_session, {{job.id, 0, UINT32_MAX, true}}});
    it.tick_after(250 * ms);
    CHECK_EQ(it.count<token_batch>(), 0);
  }
}

TEST_CASE("prefill_core: the death of decode ends what it had not joined, and nothing else") {
  auto it = prefill_script{16};
  it.hand_over(it.job(1, 8, 0, 100));
  it.tell(joined{the_decode, ticket_of(1)});
  it.hand_over(it.job(2, 8, 0, 200));
  auto other = it.job(3, 8, 0, 300);
  other.decode = other_decode;
  it.tell(other);
  it.tell(peer_down{the_decode});
  it.publish_all();
  it.move_all(errc::peer_lost);
  CHECK_EQ(it.only<job_failed>(the_session).id, ticket_of(2));
  CHECK_EQ(it.count<quiesced>(), 0); // Its memory is gone with it.
  CHECK_EQ(it.core.attempts(), 1);
}

TEST_CASE("prefill_core: the death of decode does not take back a request that ended with its first token") {
  auto it = prefill_script{};
  it.tell(it.job(1, 8));
  it.compute(end_token);
  it.tell(peer_down{the_decode});
  it.publish_all();
  CHECK(it.empty());
  CHECK_EQ(it.count<job_failed>(), 0);
  CHECK_EQ(it.count<quiesced>(), 0);
  it.tick_after(250 * ms);
  CHECK_EQ(it.count<quiesced>(), 0);
  CHECK(it.take_sent<token_batch>().back().second.updates.at(0).finish == finish_reason::stop);
}

TEST_CASE("prefill_core: a session's death ends its jobs, and decode is told") {
  auto it = prefill_script{};
  it.hand_over(it.job(1, 8));
  it.forget();
  it.tell(peer_down{the_session});
  it.publish_all();
  it.move_all(errc::cancelled);
  CHECK(it.only<quiesced>(the_decode).clean);
  CHECK_EQ(it.count<job_failed>(), 0);
  CHECK_EQ(it.count<token_batch>(), 0);
  CHECK(it.empty());
}
