// SPDX-License-Identifier: Apache-2.0
#include "tests/actors/decode/decode_script.hpp"
#include "tests/actors/prefill/prefill_script.hpp"
#include "tests/actors/protocol/conductor_script.hpp"
#include "tests/actors/protocol/protocol_row.hpp"
#include "tests/actors/session/session_script.hpp"

using namespace perigee;
using namespace perigee::testing;

PROTOCOL_ROW("submit") {
  for (auto answer : {"accepted", "placed", "rejected"}) {
    CAPTURE(std::string{answer});
    auto it = session_script{};
    it.meet_conductor();
    it.tell(it.request(1));
    auto id = it.only<submit>(the_conductor).id;
    CHECK(repeats<submit>(it));
    if (answer == std::string{"accepted"})
      it.tell(accepted{the_conductor, id});
    else if (answer == std::string{"placed"})
      it.tell(it.place(id));
    else
      it.tell(rejected{the_conductor, id, ec::overloaded, "", 0});
    CHECK(is_silent<submit>(it));
  }
  auto conductor = conductor_script{};
  for (auto i = 0; i < 2; ++i)
    conductor.tell(conductor.request(1));
  CHECK_EQ(conductor.count<accepted>(), 2);
  CHECK_EQ(conductor.core.requests(), 1);
  conductor.decide();
  auto first = conductor.only<placed>(the_session);
  conductor.tell(conductor.request(1));
  CHECK_EQ(conductor.only<placed>(the_session).placement, first.placement);
  CHECK_EQ(conductor.placements(), 1);

  auto alone = session_script{}; // Nobody answers.
  alone.meet_conductor();
  alone.tell(alone.request(1));
  alone.tick_after(60'000 * ms);
  CHECK(alone.only_event<client_error>().code == ec::deadline);

  auto orphan = session_script{};
  orphan.meet_conductor();
  orphan.tell(orphan.request(1));
  orphan.tell(accepted{the_conductor, ticket_of(1)});
  orphan.forget();
  orphan.tell(peer_down{the_conductor});
  CHECK(is_silent<submit>(orphan));
  orphan.tell(conductor_hello{next_conductor, 6});
  CHECK_EQ(orphan.only<submit>(next_conductor).id, ticket_of(1));
}

PROTOCOL_ROW("accepted") {
  auto conductor = conductor_script{};
  conductor.tell(conductor.request(1));
  CHECK_EQ(conductor.only<accepted>(the_session).id, ticket_of(1));
  CHECK(is_silent<accepted>(conductor)); // It answers, and asks nobody.
  conductor.tell(conductor.request(1));
  CHECK_EQ(conductor.count<accepted>(), 1);
  conductor.tell(peer_down{the_session});
  CHECK_EQ(conductor.core.requests(), 0);

  auto it = session_script{};
  it.meet_conductor();
  it.tell(it.request(1));
  for (auto i = 0; i < 2; ++i)
    it.tell(accepted{the_conductor, ticket_of(1)});
  CHECK_EQ(it.core.status().waiting, 1);
  CHECK_EQ(it.count<withdraw>(), 0);
  it.tell(accepted{the_conductor, ticket_of(8)}); // Of what this session has given up.
  CHECK_EQ(it.only<withdraw>(the_conductor).id, ticket_of(8));
}

PROTOCOL_ROW("placed") {
  auto conductor = conductor_script{};
  auto id = conductor.place(1);
  CHECK(repeats<placed>(conductor));
  conductor.tell(placed_ack{the_session, id, 0});
  CHECK(is_silent<placed>(conductor));
  conductor.tell(peer_down{the_session}); // Undone.
  conductor.tick_after(retry);
  CHECK_EQ(conductor.count<cancel>(), 2);

  auto it = session_script{};
  it.meet_conductor();
  it.tell(it.request(1));
  for (auto i = 0; i < 2; ++i)
    it.tell(it.place(ticket_of(1)));
  CHECK_EQ(it.count<placed_ack>(), 2);
  CHECK_EQ(it.count<prefill_job>(), 1);
  it.tick_after(60'000 * ms);
  CHECK(it.only_event<client_error>().code == ec::deadline);
}

PROTOCOL_ROW("placed_ack") {
  auto conductor = conductor_script{};
  conductor.up(other_decode);
  auto id = conductor.place(1);
  const auto* entry = conductor.core.ledger().find(role::decode, 0);
  auto first = entry->open == 0 ? other_decode : the_decode;
  CHECK_EQ(conductor.only<placed>(the_session).decode, first);
  conductor.tell(redirect{the_prefill, id, 0});
  conductor.tell(placed_ack{the_session, id, 0}); // Of the place before.
  CHECK(repeats<placed>(conductor));
  for (auto i = 0; i < 2; ++i)
    conductor.tell(placed_ack{the_session, id, 1});
  CHECK(is_silent<placed>(conductor));
  auto it = session_script{};
  it.meet_conductor();
  it.run(it.request(1));
  CHECK(is_silent<placed_ack>(it)); // It answers only.
}

PROTOCOL_ROW("rejected") {
  auto conductor = conductor_script{};
  auto request = conductor.request(1);
  request.prompt_tokens = 20'000;
  for (auto i = 0; i < 2; ++i) {
    conductor.tell(request);
    conductor.decide();
    CHECK(conductor.only<rejected>(the_session).reason == ec::too_long);
  }
  CHECK(is_silent<rejected>(conductor));
  CHECK_EQ(conductor.core.status(conductor.now).rejections, 1);

  auto it = session_script{};
  it.meet_conductor();
  it.tell(it.request(1));
  for (auto i = 0; i < 2; ++i)
    it.tell(rejected{the_conductor, ticket_of(1), ec::too_long, "", 0});
  CHECK_EQ(it.take_events<client_error>().size(), 1);
}

PROTOCOL_ROW("withdraw") {
  auto it = session_script{};
  it.meet_conductor();
  it.run(it.request(1));
  it.tell(close_request{1});
  CHECK_EQ(it.count<withdraw>(), 1);
  CHECK(repeats<withdraw>(it));
  it.tell(peer_down{the_conductor});
  CHECK(is_silent<withdraw>(it));
  it.tell(conductor_hello{next_conductor, 6});
  it.tick_after(retry);
  CHECK_EQ(it.only<withdraw>(next_conductor).id, ticket_of(1));
  it.tell(withdrawn{next_conductor, ticket_of(1)});
  CHECK(is_silent<withdraw>(it));
  CHECK(it.core.idle());

  auto conductor = conductor_script{};
  auto id = conductor.place(1);
  for (auto i = 0; i < 2; ++i)
    conductor.tell(withdraw{the_session, id, ec::cancelled});
  CHECK_EQ(conductor.count<withdrawn>(), 2);
  CHECK_EQ(conductor.core.requests(), 0);
  CHECK_EQ(conductor.count<cancel>() % 2, 0);
}

PROTOCOL_ROW("withdrawn") {
  auto conductor = conductor_script{};
  conductor.tell(withdraw{the_session, ticket_of(77), ec::none}); // Of whom it never heard.
  CHECK_EQ(conductor.only<withdrawn>(the_session).id, ticket_of(77));
  CHECK(is_silent<withdrawn>(conductor));
  auto it = session_script{};
  it.meet_conductor();
  it.tell(it.request(1));
  it.tell(withdrawn{the_conductor, ticket_of(1)}); // Was not asked for.
  CHECK_EQ(it.core.status().open, 1);
}

PROTOCOL_ROW("cancel") {
  auto conductor = conductor_script{};
  auto id = conductor.place(1);
  conductor.tell(withdraw{the_session, id, ec::cancelled});
  CHECK_EQ(conductor.count<cancel>(), 2);
  conductor.tick_after(retry);
  CHECK_EQ(conductor.count<cancel>(), 2);
  conductor.tell(cancelled{the_decode, id});
  conductor.tick_after(retry);
  CHECK_EQ(conductor.only<cancel>(the_prefill).id, id);
  conductor.tell(peer_down{the_prefill}); // Its side is closed.
  CHECK(is_silent<cancel>(conductor));
  CHECK_EQ(conductor.placements(), 0);

  auto prefill = prefill_script{};
  prefill.tell(prefill.job(1, 6));
  prefill.compute();
  prefill.grant(ticket_of(1), 2);
  for (auto i = 0; i < 2; ++i)
    prefill.tell(cancel{the_conductor, 5, ticket_of(1)});
  CHECK_EQ(prefill.take_local<cancel_store>().size(), 1);
  CHECK_EQ(prefill.take_local<cancel_move>().size(), 2);
  auto decode = decode_script{};
  decode.reserve_for(decode.reservation(1, 8));
  for (auto i = 0; i < 2; ++i)
    decode.tell(cancel{the_conductor, 5, ticket_of(1)});
  CHECK_EQ(decode.count<cancelled>(), 2);
  CHECK_EQ(decode.slots(slot_state::transfer), 2);
}

PROTOCOL_ROW("cancelled") {
  auto prefill = prefill_script{};
  auto decode = decode_script{};
  for (auto i = 0; i < 2; ++i) {
    prefill.tell(cancel{the_conductor, 5, ticket_of(1)});
    decode.tell(cancel{the_conductor, 5, ticket_of(1)});
  }
  CHECK_EQ(prefill.count<cancelled>(), 2);
  CHECK_EQ(decode.count<cancelled>(), 2);
  CHECK(is_silent<cancelled>(prefill));
  CHECK(is_silent<cancelled>(decode));
  auto conductor = conductor_script{};
  auto id = conductor.place(1);
  conductor.place(2);
  auto tokens = conductor.core.ledger().find(role::decode, 0)->tokens;
  for (auto i = 0; i < 2; ++i)
    conductor.tell(cancelled{the_decode, id});
  conductor.tell(cancelled{other_decode, ticket_of(2)}); // Is not there.
  CHECK_EQ(conductor.core.ledger().find(role::decode, 0)->tokens, tokens / 2);
}

PROTOCOL_ROW("redirect") {
  auto it = prefill_script{};
  it.tell(conductor_hello{the_conductor, 5});
  it.tell(it.job(1, 6));
  it.tell(refused{the_decode, ticket_of(1), 0, ec::out_of_blocks});
  CHECK_EQ(it.count<redirect>(), 1);
  CHECK(repeats<redirect>(it));
  it.tell(peer_down{the_conductor});
  CHECK(is_silent<redirect>(it));
  it.tell(conductor_hello{next_conductor, 6});
  it.tick_after(retry);
  CHECK_EQ(it.only<redirect>(next_conductor).id, ticket_of(1));
  it.tell(redirected{next_conductor, 6, ticket_of(1), 1, ec::none, other_decode});
  CHECK(is_silent<redirect>(it));

  auto alone = prefill_script{}; // No Conductor for ten seconds.
  alone.tell(alone.job(1, 6));
  alone.compute();
  alone.publish_all();
  alone.tell(refused{the_decode, ticket_of(1), 0, ec::out_of_blocks});
  for (auto i = 0; i < 39; ++i)
    alone.tick_after(retry);
  CHECK_EQ(alone.count<job_failed>(), 0);
  alone.tick_after(2 * retry);
  CHECK(alone.only<job_failed>(the_session).reason == ec::peer_lost);

  auto conductor = conductor_script{};
  conductor.up(other_decode);
  auto id = conductor.place(1);
  for (auto i = 0; i < 2; ++i)
    conductor.tell(redirect{the_prefill, id, 0});
  auto answers = conductor.take_sent<redirected>();
  REQUIRE_EQ(answers.size(), 2);
  CHECK_EQ(answers[0].second.revision, 1);
  CHECK_EQ(answers[1].second.revision, 1);
  CHECK_EQ(conductor.core.status(conductor.now).redirections, 1);
}

PROTOCOL_ROW("redirected") {
  auto conductor = conductor_script{};
  conductor.tell(redirect{the_prefill, ticket_of(9), 0}); // Of whom it never heard.
  CHECK(conductor.only<redirected>(the_prefill).reason == ec::stale);
  CHECK(is_silent<redirected>(conductor));
  auto it = prefill_script{};
  it.tell(conductor_hello{the_conductor, 5});
  it.tell(it.job(1, 6));
  it.tell(refused{the_decode, ticket_of(1), 0, ec::out_of_blocks});
  it.forget();
  for (auto i = 0; i < 2; ++i)
    it.tell(redirected{the_conductor, 5, ticket_of(1), 1, ec::none, other_decode});
  CHECK_EQ(it.only<reserve>(other_decode).revision, 1);
}

PROTOCOL_ROW("conductor_hello") {
  auto conductor = conductor_script{};
  conductor.tell(conductor.full_report(the_session, 1));
  conductor.tell(peer_up{other_prefill, {}});
  CHECK(repeats<conductor_hello>(conductor));
  auto partial = conductor.full_report(other_prefill, 1);
  partial.full = false;
  conductor.tell(partial);
  CHECK(repeats<conductor_hello>(conductor));
  conductor.tell(conductor.full_report(other_prefill, 2));
  CHECK(is_silent<conductor_hello>(conductor));

  auto prefill = prefill_script{};
  auto decode = decode_script{};
  auto session = session_script{};
  for (auto i = 0; i < 2; ++i) {
    prefill.tell(conductor_hello{next_conductor, 6});
    decode.tell(conductor_hello{next_conductor, 6});
    session.tell(conductor_hello{next_conductor, 6});
    CHECK(prefill.only<report>(next_conductor).full);
    CHECK(decode.only<report>(next_conductor).full);
    CHECK(session.only<report>(next_conductor).full);
  }
  prefill.tell(conductor_hello{the_conductor, 5}); // Of the past.
  decode.tell(conductor_hello{the_conductor, 5});
  session.tell(conductor_hello{the_conductor, 5});
  CHECK_EQ(prefill.count<report>() + decode.count<report>() + session.count<report>(), 0);
}

PROTOCOL_ROW("report") {
  auto it = prefill_script{};
  it.tell(conductor_hello{the_conductor, 5});
  it.tell(it.job(1, 6));
  it.tell(cancel{the_conductor, 5, ticket_of(1)});
  it.tell(done(it.only_local<run_prefill>().work.id, {}, errc::cancelled));
  it.forget();
  it.tick_after(100 * ms);
  CHECK_EQ(it.only<report>(the_conductor).ended.size(), 1);
  it.tell(peer_down{the_conductor});
  it.tell(conductor_hello{next_conductor, 6});
  auto kept = it.only<report>(next_conductor);
  CHECK_EQ(kept.ended.size(), 1);
  it.tell(report_ack{next_conductor, 6, kept.sequence});
  it.tick_after(100 * ms);
  CHECK(it.only<report>(next_conductor).ended.empty());

  auto conductor = conductor_script{};
  auto id = conductor.place(1);
  auto news = conductor.full_report(the_decode, 2);
  news.ended = {{id, 105, 1}};
  for (auto i = 0; i < 2; ++i)
    conductor.tell(news);
  CHECK_EQ(conductor.count<report_ack>(), 2);
  CHECK_EQ(conductor.core.ledger().find(role::decode, 0)->tokens, 0);
  CHECK_EQ(conductor.placements(), 1); // Prefill's side is open.
}

PROTOCOL_ROW("report_ack") {
  auto conductor = conductor_script{};
  conductor.tell(conductor.full_report(the_prefill, 7));
  CHECK_EQ(conductor.only<report_ack>(the_prefill).sequence, 7);
  CHECK(is_silent<report_ack>(conductor));
  auto other_term = conductor.full_report(the_prefill, 8);
  other_term.term = 4;
  conductor.tell(other_term);
  CHECK_EQ(conductor.count<report_ack>(), 0);
  auto it = prefill_script{};
  it.tell(conductor_hello{next_conductor, 6});
  it.tell(it.job(1, 6));
  it.compute(end_token);
  it.publish_all();
  it.forget();
  it.tell(report_ack{the_conductor, 5, 100}); // Of the past.
  it.tick_after(100 * ms);
  CHECK_EQ(it.only<report>(next_conductor).ended.size(), 1);
}
