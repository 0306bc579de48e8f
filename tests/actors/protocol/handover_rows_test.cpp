// SPDX-License-Identifier: Apache-2.0
#include "tests/actors/decode/decode_script.hpp"
#include "tests/actors/prefill/prefill_script.hpp"
#include "tests/actors/protocol/protocol_row.hpp"
#include "tests/actors/session/session_script.hpp"

using namespace perigee;
using namespace perigee::testing;

namespace {

/// A session whose request 1 has a place and whose prefill instance has not answered.
session_script placed_session() {
  auto it = session_script{};
  it.meet_conductor();
  it.tell(it.request(1));
  it.tell(it.place(ticket_of(1)));
  it.forget();
  return it;
}

/// A prefill instance that announced request 1; its writes go on.
prefill_script announced() {
  auto it = prefill_script{};
  it.hand_over(it.job(1, 6));
  it.publish_all();
  it.forget();
  return it;
}

} // namespace

PROTOCOL_ROW("prefill_job") {
  for (auto acknowledged : {true, false}) {
    auto it = placed_session();
    CHECK(repeats<prefill_job>(it));
    if (acknowledged)
      it.tell(job_ack{the_prefill, ticket_of(1)});
    else
      it.tell(job_failed{the_prefill, ticket_of(1), ec::overloaded});
    CHECK(is_silent<prefill_job>(it));
  }
  auto prefill = prefill_script{};
  for (auto i = 0; i < 2; ++i)
    prefill.tell(prefill.job(1, 6));
  CHECK_EQ(prefill.core.attempts(), 1);
  auto decode = decode_script{};
  auto job = prefill_script::job(1, 6);
  for (auto i = 0; i < 2; ++i)
    decode.tell(job);
  CHECK_EQ(decode.count<job_ack>(), 2);
  CHECK_EQ(decode.core.attempts(), 1);
  CHECK_EQ(decode.take_local<run_prefill>().size(), 1);
  auto unheard = placed_session();
  for (auto i = 0; i < 12; ++i)
    unheard.tick_after(retry);
  CHECK_EQ(unheard.count<prefill_job>(), 12);
  unheard.tick_after(retry);
  CHECK_EQ(unheard.only<submit>(the_conductor).id, ticket_of(1, 1));
  auto bereaved = placed_session();
  bereaved.tell(peer_down{the_prefill});
  CHECK_EQ(bereaved.only<submit>(the_conductor).id, ticket_of(1, 1));
}

PROTOCOL_ROW("job_ack") {
  auto prefill = prefill_script{};
  for (auto i = 0; i < 2; ++i)
    prefill.tell(prefill.job(1, 6));
  CHECK_EQ(prefill.count<job_ack>(), 2);
  CHECK(is_silent<job_ack>(prefill));
  prefill.tell(peer_down{the_session});
  prefill.tell(done(prefill.only_local<run_prefill>().work.id, {}, errc::cancelled));
  CHECK(prefill.empty());
  auto decode = decode_script{};
  decode.tell(prefill_script::job(1, 6));
  CHECK_EQ(decode.count<job_ack>(), 1);
  CHECK(is_silent<job_ack>(decode));
  decode.tell(peer_down{the_session});
  decode.tell(done(decode.only_local<run_prefill>().work.id, {}, errc::cancelled));
  CHECK(decode.empty());
  auto it = placed_session();
  it.tell(job_ack{the_prefill, ticket_of(1, 7)}); // Of another attempt.
  CHECK(repeats<prefill_job>(it));
  for (auto i = 0; i < 2; ++i)
    it.tell(job_ack{the_prefill, ticket_of(1)});
  CHECK(is_silent<prefill_job>(it));
}

PROTOCOL_ROW("job_failed") {
  auto prefill = prefill_script{};
  prefill.tell(prefill.job(1, 6));
  prefill.tell(done(prefill.only_local<run_prefill>().work.id, {}, errc::invalid_argument));
  CHECK_EQ(prefill.count<job_failed>(), 1);
  auto failed = prefill.only<token_batch>(the_session);
  CHECK(failed.updates.at(0).finish == finish_reason::failed);
  CHECK(repeats<token_batch>(prefill));
  CHECK_EQ(prefill.count<job_failed>(), 0);
  auto decode = decode_script{};
  decode.tell(prefill_script::job(1, 6));
  decode.tell(done(decode.only_local<run_prefill>().work.id, {}, errc::invalid_argument));
  CHECK_EQ(decode.count<job_failed>(), 1);
  CHECK(repeats<token_batch>(decode));
  CHECK_EQ(decode.count<job_failed>(), 0);

  for (auto heard : {true, false}) { // If it never comes, the finish says the same.
    auto it = placed_session();
    for (auto i = 0; i < 2; ++i)
      if (heard)
        it.tell(job_failed{the_prefill, ticket_of(1), ec::instance_failed});
    it.tell(failed);
    CHECK(it.only<token_acks>(the_prefill).acks.at(0).finished);
    it.tick_after(retry);
    CHECK_EQ(it.only<submit>(the_conductor).id, ticket_of(1, 1));
    CHECK_EQ(it.core.status().resubmitted, 1);
  }
}

PROTOCOL_ROW("reserve") {
  for (auto is_granted : {true, false}) {
    auto it = prefill_script{};
    it.tell(it.job(1, 6));
    CHECK_EQ(it.count<reserve>(), 1);
    CHECK(repeats<reserve>(it));
    if (is_granted)
      it.grant(ticket_of(1), 2);
    else
      it.tell(refused{the_decode, ticket_of(1), 0, ec::out_of_blocks});
    CHECK(is_silent<reserve>(it));
  }
  auto decode = decode_script{};
  for (auto i = 0; i < 2; ++i)
    decode.tell(decode.reservation(1, 8));
  CHECK_EQ(decode.count<granted>(), 2);
  CHECK_EQ(decode.core.attempts(), 1);
  for (auto bereaved : {true, false}) {
    auto it = prefill_script{};
    it.tell(it.job(1, 6));
    it.compute();
    it.publish_all();
    if (bereaved)
      it.tell(peer_down{the_decode});
    else
      for (auto i = 0; i < 40; ++i)
        it.tick_after(retry);
    CHECK_EQ(it.count<reserve>(), bereaved ? 1 : 40);
    CHECK(it.only<job_failed>(the_session).reason == ec::peer_lost);
    CHECK(it.empty());
  }
}

PROTOCOL_ROW("granted") {
  auto it = prefill_script{};
  it.tell(it.job(1, 6));
  it.compute();
  for (auto i = 0; i < 2; ++i)
    it.grant(ticket_of(1), 2);
  CHECK_EQ(it.take_local<move_blocks>().size(), 2);
  CHECK_EQ(it.count<handed_over>(), 1);
  auto decode = decode_script{};
  decode.reserve_for(decode.reservation(1, 8));
  CHECK(is_silent<granted>(decode));
  decode.tell(peer_down{the_prefill});
  CHECK_EQ(decode.slots(slot_state::transfer), 2);
  decode.tell(node_fenced{decode.only_local<fence_node>().id});
  CHECK(decode.empty());
}

PROTOCOL_ROW("refused") {
  auto decode = decode_script{2};
  for (auto i = 0; i < 2; ++i) {
    decode.tell(decode.reservation(1, 12));
    CHECK(decode.only<refused>(the_prefill).reason == ec::out_of_blocks);
    decode.tell(decode.announcement(decode.reservation(2, 8), 1));
    CHECK(decode.only<refused>(the_prefill).reason == ec::stale);
  }
  CHECK(is_silent<refused>(decode));
  auto it = prefill_script{};
  it.tell(conductor_hello{the_conductor, 5});
  it.tell(it.job(1, 6));
  for (auto i = 0; i < 2; ++i)
    it.tell(refused{the_decode, ticket_of(1), 0, ec::out_of_blocks});
  CHECK_EQ(it.count<redirect>(), 1);
  CHECK_EQ(it.count<job_failed>(), 0);
  CHECK(repeats<redirect>(it));
}

PROTOCOL_ROW("(one-sided writes)") {
  for (auto code : {errc::timed_out, errc::peer_lost}) {
    auto it = announced();
    auto writes = it.take_local<move_blocks>();
    REQUIRE_EQ(writes.size(), 2);
    CHECK_EQ(writes[0].deadline_ns, 10'000 * ms);
    it.tell(ended_move(writes[0].id, code));
    it.tell(ended_move(writes[0].id, code));
    it.tell(ended_move(writes[1].id));
    CHECK(it.only<job_failed>(the_session).reason == ec::peer_lost);
    CHECK_FALSE(it.only<quiesced>(the_decode).clean);
    CHECK(it.empty());
  }
  auto decode = decode_script{};
  auto request = decode.reservation(1, 8);
  auto where = decode.reserve_for(request);
  decode.tell(arrived{where.immediate});
  decode.tell(arrived{where.immediate + 1}); // Of no transfer.
  decode.tell(decode.announcement(request, 2));
  CHECK_EQ(decode.count<joined>(), 0);
  decode.tell(arrived{where.immediate});
  CHECK_EQ(decode.count<joined>(), 1);
}

PROTOCOL_ROW("handed_over") {
  for (auto is_joined : {true, false}) {
    auto it = announced();
    CHECK(repeats<handed_over>(it));
    if (is_joined)
      it.tell(joined{the_decode, ticket_of(1)});
    else
      it.tell(refused{the_decode, ticket_of(1), 0, ec::stale});
    CHECK(is_silent<handed_over>(it));
    it.move_all(errc::cancelled);
    CHECK_EQ(it.count<job_failed>(), is_joined ? 0 : 1);
    CHECK(it.empty());
  }
  auto decode = decode_script{};
  auto request = decode.reservation(1, 8);
  auto where = decode.reserve_for(request);
  for (auto i = 0; i < 2; ++i)
    decode.tell(decode.announcement(request, 1));
  decode.tell(arrived{where.immediate});
  decode.tell(decode.announcement(request, 1));
  CHECK_EQ(decode.count<joined>(), 2);
  CHECK_EQ(decode.only_local<run_decode>().work.rows.size(), 1);

  auto unheard = announced();
  unheard.tick_after(60 * retry);
  CHECK_EQ(unheard.core.attempts(), 1); // Bytes may still be on their way.
  unheard.move_all();
  for (auto i = 0; i < 42; ++i)
    unheard.tick_after(retry);
  CHECK(unheard.only<job_failed>(the_session).reason == ec::peer_lost);
  auto bereaved = announced();
  bereaved.tell(peer_down{the_decode});
  bereaved.move_all(errc::peer_lost);
  CHECK(bereaved.only<job_failed>(the_session).reason == ec::peer_lost);
}

PROTOCOL_ROW("joined") {
  auto decode = decode_script{};
  auto request = decode.reservation(1, 8);
  decode.join(request);
  CHECK(is_silent<joined>(decode));
  decode.tell(decode.announcement(request, 1));
  CHECK_EQ(decode.count<joined>(), 1);
  auto it = announced();
  it.move_all();
  for (auto i = 0; i < 2; ++i)
    it.tell(joined{the_decode, ticket_of(1)});
  CHECK(it.empty());
  CHECK_EQ(it.count<quiesced>(), 0);
}

PROTOCOL_ROW("quiesced") {
  auto it = prefill_script{};
  it.tell(it.job(1, 6));
  it.compute(end_token);
  it.publish_all();
  CHECK_EQ(it.count<quiesced>(), 1);
  CHECK(repeats<quiesced>(it));
  auto answered = it;
  answered.tell(quiesced_ack{the_decode, ticket_of(1)});
  CHECK(is_silent<quiesced>(answered));
  it.tell(peer_down{the_decode}); // The slots went with it.
  CHECK(is_silent<quiesced>(it));
  auto decode = decode_script{};
  decode.reserve_for(decode.reservation(1, 8));
  for (auto i = 0; i < 2; ++i)
    decode.tell(quiesced{the_prefill, ticket_of(1), true});
  CHECK_EQ(decode.count<quiesced_ack>(), 2);
  CHECK(decode.empty());
}

PROTOCOL_ROW("quiesced_ack") {
  auto decode = decode_script{};
  decode.tell(quiesced{the_prefill, ticket_of(9), true}); // Of whom it never heard.
  CHECK_EQ(decode.only<quiesced_ack>(the_prefill).id, ticket_of(9));
  CHECK(is_silent<quiesced_ack>(decode));
  decode.reserve_for(decode.reservation(1, 8));
  decode.tell(peer_down{the_prefill});
  CHECK_EQ(decode.slots(slot_state::transfer), 2);
  decode.tell(node_fenced{decode.only_local<fence_node>().id});
  CHECK(decode.empty());
  auto it = prefill_script{};
  it.tell(it.job(1, 6));
  it.compute(end_token);
  it.tell(quiesced_ack{the_decode, ticket_of(1)}); // Before it was said.
  it.publish_all();
  CHECK(repeats<quiesced>(it));
}

PROTOCOL_ROW("token_batch") {
  auto prefill = announced();
  CHECK(repeats<token_batch>(prefill));
  auto decode = decode_script{};
  decode.join(decode.reservation(1, 8));
  CHECK(repeats<token_batch>(decode));
  auto session = placed_session();
  session.tokens(ticket_of(1), 0, {0, 1});
  CHECK_EQ(session.tokens(ticket_of(1), 0, {0, 1}).next, 2);
  CHECK_EQ(session.text(), "ab");
  decode.tell(token_acks{the_session, {{ticket_of(1), 0, 1, false}}});
  CHECK(is_silent<token_batch>(decode));
  decode.step();
  CHECK_EQ(decode.count<token_batch>(), 1);
  prefill.tell(peer_down{the_session});
  decode.tell(peer_down{the_session});
  CHECK(is_silent<token_batch>(prefill));
  CHECK(is_silent<token_batch>(decode));
}

PROTOCOL_ROW("token_acks") {
  auto session = placed_session();
  session.tokens(ticket_of(1), 0, {0});
  for (auto i = 0; i < 2; ++i)
    CHECK_EQ(session.tokens(ticket_of(1), 0, {0}).next, 1); // What is repeated is answered at once.
  CHECK_EQ(session.tokens(ticket_of(1), 1, std::vector<token_id>(16, 1)).next, 17);
  CHECK(session.tokens(ticket_of(5), 0, {0}).finished); // Nobody waits for those.
  CHECK(is_silent<token_acks>(session));
  auto decode = decode_script{};
  decode.join(decode.reservation(1, 8));
  decode.step(600);
  decode.forget();
  for (auto next : {2u, 1u, 2u, 99u}) // Late ones take nothing back; nobody has what was not sent.
    decode.tell(token_acks{the_session, {{ticket_of(1), 0, next, false}}});
  CHECK(is_silent<token_batch>(decode));
  decode.step(601);
  CHECK_EQ(decode.only<token_batch>(the_session).updates.at(0).first, 2);
}
