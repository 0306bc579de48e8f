// SPDX-License-Identifier: Apache-2.0
#include "tests/actors/session/session_script.hpp"

using namespace perigee;
using namespace perigee::testing;

TEST_CASE("session_core: a request is submitted, sent to its place, streamed and withdrawn") {
  auto it = session_script{};
  it.meet_conductor();
  it.tell(it.request(1, 10));
  CHECK_EQ(it.only_event<client_opened>().request, ticket_of(1).request);
  auto asked = it.only<submit>(the_conductor);
  CHECK_EQ(asked.id, ticket_of(1));
  CHECK_EQ(asked.prompt_tokens, 10);
  CHECK_EQ(asked.max_tokens, 20);
  CHECK_EQ(asked.keys.size(), 2);
  CHECK_EQ(asked.deadline_ns, 60'000 * ms);
  it.now += 1'000 * ms;
  auto job = it.start(asked.id);
  CHECK_EQ(job.decode, the_decode);
  CHECK_EQ(job.placement, 3);
  CHECK_EQ(job.prefix.size(), 1);
  CHECK_EQ(job.deadline_ns, 59'000 * ms);
  CHECK(job.root == root_key("model", ""));
  CHECK_EQ(job.gen.choices.size(), 1);
  it.tokens(asked.id, 0, {0}, finish_reason::none, 0, the_prefill);
  auto last = it.tokens(asked.id, 0, {0, 1, 2}, finish_reason::length);
  CHECK_EQ(last.next, 3);
  CHECK(last.finished);
  CHECK_EQ(it.text(), "abc.");
  CHECK(it.only_event<client_finish>().reason == finish_reason::length);
  auto end = it.only_event<client_end>();
  CHECK_EQ(end.completion_tokens, 3);
  CHECK_EQ(end.cached_tokens, 4);
  CHECK(it.only<withdraw>(the_conductor).outcome == ec::none);
  CHECK_FALSE(it.core.idle());
  it.tell(withdrawn{the_conductor, asked.id});
  CHECK(it.core.idle());
  auto late = it.tokens(asked.id, 0, {0, 1, 2}, finish_reason::length); // Its acknowledgement was lost.
  CHECK(late.finished);
  CHECK(it.core.events.empty());
}

TEST_CASE("session_core: requests without a seed get one each, the same in every run; a given one stays") {
  auto seed_of = [](session_script& it, uint64_t client, bool seeded) {
    auto request = it.request(client);
    request.seeded = seeded;
    request.sampling.seed = 77;
    it.tell(request);
    return it.start(it.only<submit>(the_conductor).id).gen.sampling.seed;
  };
  auto a = session_script{};
  auto b = session_script{};
  a.meet_conductor();
  b.meet_conductor();
  auto first = seed_of(a, 1, false);
  CHECK_EQ(first, seed_of(b, 1, false));
  CHECK(first != seed_of(a, 2, false));
  CHECK_EQ(seed_of(a, 3, true), 77);
}

TEST_CASE("session_core: requests in flight are bounded, and a gateway that drains takes none") {
  auto it = session_script{2};
  it.tell(it.request(1));
  it.tell(it.request(2));
  it.tell(it.request(3));
  auto refused = it.only_event<client_error>();
  CHECK_EQ(refused.client, 3);
  CHECK(refused.code == ec::overloaded);
  CHECK(refused.retry_after_ns > 0);
  it.tell(close_request{1});
  it.core.drain();
  it.tell(it.request(4));
  CHECK(it.only_event<client_error>().code == ec::draining);
  CHECK_EQ(it.core.status().open, 1);
}

TEST_CASE("session_core: what the Conductor refuses, the client is told") {
  auto it = session_script{};
  it.meet_conductor();
  it.tell(it.request(1));
  auto asked = it.only<submit>(the_conductor);
  auto refusal = rejected{the_conductor, asked.id, ec::overloaded, "full", 5};
  refusal.id.attempt = 1; // Of another attempt.
  it.tell(refusal);
  CHECK(it.take_events<client_error>().empty());
  refusal.id = asked.id;
  it.tell(refusal);
  it.tell(refusal);
  auto error = it.only_event<client_error>();
  CHECK(error.code == ec::overloaded);
  CHECK_EQ(error.detail, "full");
  CHECK_EQ(error.retry_after_ns, 5);
  it.confirm_withdrawals();
  CHECK(it.core.idle());
}

TEST_CASE("session_core: a client that leaves ends its request at once, in every state") {
  for (auto state : {"submitted", "accepted", "placed", "running", "backoff"}) {
    CAPTURE(std::string{state});
    auto is = [&](const char* name) { return state == std::string{name}; };
    auto it = session_script{};
    it.meet_conductor();
    it.tell(it.request(1));
    auto id = it.only<submit>(the_conductor).id;
    if (is("accepted"))
      it.tell(accepted{the_conductor, id});
    if (is("placed"))
      it.tell(it.place(id));
    if (is("running") || is("backoff"))
      it.start(id);
    if (is("backoff")) {
      it.tell(job_failed{the_prefill, id, ec::instance_failed});
      ++id.attempt;
    }
    it.tell(close_request{1});
    it.tell(close_request{1});
    auto gone = it.only<withdraw>(the_conductor);
    CHECK_EQ(gone.id, id);
    CHECK(gone.outcome == ec::cancelled);
    it.forget();
    it.tell(accepted{the_conductor, id}); // Whatever comes now is undone.
    it.tell(it.place(id));
    CHECK_EQ(it.count<withdraw>(), 2);
    CHECK_EQ(it.count<prefill_job>(), 0);
    CHECK(it.tokens(id, 0, {1}).finished);
    CHECK(it.take_events<client_texts>().empty());
    it.tell(withdrawn{the_conductor, id});
    CHECK(it.core.idle());
    it.tick_after(10'000 * ms);
    CHECK_EQ(it.count<withdraw>(), 0);
  }
  auto slow = session_script{};
  slow.tell(slow.request(1));
  slow.tell(close_request{1, ec::slow_client});
  CHECK(slow.only_event<client_error>().code == ec::slow_client);
}

TEST_CASE("session_core: a deadline ends a request in every state, with an error") {
  for (auto placed_first : {false, true}) {
    auto it = session_script{};
    it.meet_conductor();
    it.tell(it.request(1));
    auto id = it.only<submit>(the_conductor).id;
    if (placed_first)
      it.start(id);
    else
      it.tell(accepted{the_conductor, id});
    it.tick_after(59'999 * ms);
    CHECK(it.take_events<client_error>().empty());
    it.forget();
    it.tick_after(1 * ms);
    CHECK(it.only_event<client_error>().code == ec::deadline);
    CHECK(it.only<withdraw>(the_conductor).outcome == ec::deadline);
  }
  auto it = session_script{}; // One that brings no deadline gets the configured one.
  auto request = it.request(1);
  request.deadline_ns = 0;
  it.tell(request);
  it.tick_after(599'999 * ms);
  CHECK(it.take_events<client_error>().empty());
  it.tick_after(1 * ms);
  CHECK(it.only_event<client_error>().code == ec::deadline);
}

TEST_CASE("session_core: an instance that dies or fails costs an attempt, and the stream goes on where it was") {
  for (auto way : {"decode dies", "prefill dies", "job fails", "preempted", "failed", "job unheard"}) {
    CAPTURE(std::string{way});
    auto is = [&](const char* name) { return way == std::string{name}; };
    auto it = session_script{};
    it.meet_conductor();
    it.tell(it.request(1));
    auto id = it.only<submit>(the_conductor).id;
    if (is("job unheard"))
      it.tell(it.place(id));
    else
      it.start(id);
    it.forget();
    it.tokens(id, 0, {0, 1}, finish_reason::none, 0, is("decode dies") ? the_decode : the_prefill);
    if (is("decode dies"))
      it.tell(peer_down{the_decode});
    if (is("prefill dies"))
      it.tell(peer_down{the_prefill});
    if (is("job fails"))
      it.tell(job_failed{the_prefill, id, ec::peer_lost});
    if (is("preempted"))
      CHECK(it.tokens(id, 2, {}, finish_reason::preempted).finished);
    if (is("failed"))
      CHECK(it.tokens(id, 2, {}, finish_reason::failed).finished);
    if (is("job unheard"))
      for (auto i = 0; i < 13; ++i)
        it.tick_after(250 * ms);
    if (is("job fails") || is("failed")) {
      CHECK_EQ(it.count<submit>(), 0); // Not at once: the reason may last.
      it.tick_after(250 * ms);
    }
    auto again = it.only<submit>(the_conductor);
    CHECK_EQ(again.id, ticket_of(1, 1));
    CHECK_EQ(again.prompt_tokens, 8);
    CHECK_EQ(again.max_tokens, 18);
    it.forget();
    CHECK(it.tokens(id, 2, {9}).finished); // The lower attempt is over.
    auto job = it.start(again.id, other_prefill, other_decode);
    CHECK_EQ(job.tokens.size(), 8);
    CHECK_EQ(job.tokens.back(), 1);
    CHECK_EQ(job.gen.prompt_tokens, 6);
    CHECK_EQ(job.gen.choices.at(0).generated, 2);
    it.tokens(again.id, 2, {2}, finish_reason::length, 0, other_decode);
    CHECK_EQ(it.text(), "abc.");
    CHECK_EQ(it.only_event<client_end>().completion_tokens, 3);
    CHECK_EQ(it.core.status().resubmitted, 1);
  }
}

TEST_CASE("session_core: the death of who is done with the request, or has nothing to do with it, changes nothing") {
  auto it = session_script{};
  it.meet_conductor();
  auto id = it.run(it.request(1));
  it.tokens(id, 0, {0});
  it.tell(peer_down{the_prefill}); // Decode has it.
  it.tell(peer_down{other_decode});
  it.tell(peer_down{far_shard});
  CHECK_EQ(it.count<submit>(), 0);
  it.tell(job_failed{other_prefill, id, ec::peer_lost});
  CHECK_EQ(it.core.status().resubmitted, 0);
}

TEST_CASE("session_core: reasons that will not go away end the request") {
  for (auto reason : {ec::deadline, ec::too_long}) {
    auto it = session_script{};
    it.meet_conductor();
    auto id = it.run(it.request(1));
    it.tell(job_failed{the_prefill, id, reason});
    CHECK(it.only_event<client_error>().code == reason);
    it.confirm_withdrawals();
    CHECK(it.core.idle());
  }
}

TEST_CASE("session_core: attempts are bounded") {
  auto it = session_script{100, 3};
  it.meet_conductor();
  auto id = it.run(it.request(1));
  for (auto i = 0; i < 2; ++i) {
    it.tell(job_failed{the_prefill, id, ec::instance_failed});
    it.tick_after(2'000 * ms);
    if (i == 0) {
      id = it.only<submit>(the_conductor).id;
      it.start(id);
    }
  }
  it.tick_after(2'000 * ms);
  id = it.take_sent<submit>().back().second.id;
  it.start(id);
  it.tell(job_failed{the_prefill, id, ec::instance_failed});
  auto error = it.only_event<client_error>();
  CHECK(error.code == ec::instance_failed);
  CHECK(error.detail.find("3 attempts") != std::string::npos);
}

TEST_CASE("session_core: choices start together; after a loss those that went different ways go on alone") {
  auto it = session_script{};
  it.meet_conductor();
  auto id = it.run(it.request(1, 6, 3));
  it.tokens(id, 0, {0}, finish_reason::length, 0); // One has ended.
  it.tokens(id, 0, {1}, finish_reason::none, 1);
  it.tell(peer_down{the_decode});
  auto asked = it.take_sent<submit>();
  REQUIRE_EQ(asked.size(), 2);
  CHECK_EQ(asked[0].second.id, ticket_of(1, 1));
  CHECK_EQ(asked[0].second.choices, 1);
  CHECK_EQ(asked[0].second.prompt_tokens, 7);
  CHECK_EQ(asked[1].second.id, ticket_of(2, 0));
  CHECK_EQ(asked[1].second.prompt_tokens, 6);
  it.start(ticket_of(1, 1), the_prefill, other_decode);
  it.start(ticket_of(2), the_prefill, other_decode);
  it.tokens(ticket_of(1, 1), 1, {2}, finish_reason::length, 1, other_decode);
  CHECK(it.take_events<client_end>().empty());
  it.tokens(ticket_of(2), 0, {3}, finish_reason::length, 2, other_decode);
  CHECK_EQ(it.text(0), "a.");
  CHECK_EQ(it.text(1), "bc.");
  CHECK_EQ(it.text(2), "d.");
  CHECK_EQ(it.only_event<client_end>().completion_tokens, 4);
  it.confirm_withdrawals();
  CHECK(it.core.idle());
}

TEST_CASE("session_core: choices that have no tokens yet stay together after a loss") {
  auto it = session_script{};
  it.meet_conductor();
  it.run(it.request(1, 6, 3));
  it.tell(peer_down{the_prefill});
  CHECK_EQ(it.only<submit>(the_conductor).choices, 3);
}

TEST_CASE("session_core: a stop string ends a choice, the instances are told, what ran ahead is dropped") {
  auto it = session_script{};
  it.meet_conductor();
  auto request = it.request(1, 6, 2);
  request.stop = {"bc"};
  auto id = it.run(request);
  auto answer = it.tokens(id, 0, {0, 1, 2, 3, 4});
  CHECK(answer.finished);
  CHECK_EQ(it.text(), "a");
  CHECK(it.only_event<client_finish>().reason == finish_reason::stop);
  CHECK(it.tokens(id, 5, {5}).finished); // It has not heard yet.
  CHECK_EQ(it.text(), "");
  it.tokens(id, 0, {1, 2}, finish_reason::none, 1);
  CHECK_EQ(it.text(1), "");
  CHECK_EQ(it.only_event<client_end>().completion_tokens, 5); // Three of the first, two of the second.
  CHECK(it.only<withdraw>(the_conductor).outcome == ec::cancelled);
}

TEST_CASE("session_core: tokens from two instances, late and doubled, give each once and in order") {
  auto it = session_script{};
  it.meet_conductor();
  auto id = it.run(it.request(1));
  CHECK_EQ(it.tokens(id, 1, {1, 2}).next, 0); // Decode's come before prefill's first.
  CHECK_EQ(it.text(), "");
  it.tokens(id, 0, {0}, finish_reason::none, 0, the_prefill);
  CHECK_EQ(it.text(), "abc");
  CHECK_EQ(it.tokens(id, 0, {0}, finish_reason::none, 0, the_prefill).next, 3);
  CHECK_EQ(it.text(), "");
}

TEST_CASE("session_core: when one choice of a batch is acknowledged, the others are with it") {
  auto it = session_script{};
  it.meet_conductor();
  auto one = it.run(it.request(1, 8));
  auto two = it.run(it.request(2, 8));
  CHECK_EQ(it.tokens(two, 0, std::vector<token_id>(3, 5)).next, 0); // Too few to be acknowledged.
  auto more = token_batch{the_decode,
                          {{one, 0, 0, token_run{}, finish_reason::none, 0}, {two, 0, 3, {5}, finish_reason::none, 0}}};
  for (auto i = 0; i < 16; ++i)
    more.updates[0].tokens.push_back(5);
  it.tell(more);
  auto acks = it.only<token_acks>(the_decode).acks;
  REQUIRE_EQ(acks.size(), 2);
  CHECK_EQ(acks[0].next, 16);
  CHECK(acks[1].id == two);
  CHECK_EQ(acks[1].next, 4);
  CHECK_FALSE(acks[1].finished);
}

TEST_CASE("session_core: what a Conductor of the past says changes nothing") {
  auto it = session_script{};
  it.meet_conductor();
  it.tell(it.request(1));
  auto id = it.only<submit>(the_conductor).id;
  it.tell(conductor_hello{next_conductor, 6});
  CHECK_EQ(it.only<submit>(next_conductor).id, id);
  it.forget();
  it.tell(accepted{the_conductor, id}); // Would end the asking.
  it.tell(rejected{the_conductor, id, ec::overloaded, "", 0});
  it.tell(it.place(id));
  it.tell(conductor_hello{the_conductor, 5});
  CHECK(it.take_events<client_error>().empty());
  CHECK_EQ(it.count<prefill_job>(), 0);
  CHECK_EQ(it.count<report>(), 0);
  it.tick_after(250 * ms);
  CHECK_EQ(it.only<submit>(next_conductor).id, id);
}

TEST_CASE("session_core: a place whose instance is known to be dead is not used") {
  auto it = session_script{};
  it.meet_conductor();
  it.tell(peer_down{the_prefill});
  it.tell(it.request(1));
  auto id = it.only<submit>(the_conductor).id;
  it.tell(it.place(id));
  CHECK_EQ(it.only<placed_ack>(the_conductor).id, id);
  CHECK_EQ(it.count<prefill_job>(), 0);
  it.tick_after(250 * ms);
  auto again = it.only<submit>(the_conductor);
  CHECK_EQ(again.id, ticket_of(1, 1));
  auto successor = the_prefill;
  ++successor.incarnation;
  it.start(again.id, successor);
}

TEST_CASE("session_core: a decode instance that died before its redirection was heard is missed all the same") {
  auto it = session_script{};
  it.meet_conductor();
  auto id = it.run(it.request(1));
  it.tell(peer_down{other_decode});
  it.tell(it.place(id, 1, the_prefill, other_decode));
  CHECK_EQ(it.only<placed_ack>(the_conductor).revision, 1);
  it.tick_after(250 * ms);
  CHECK_EQ(it.only<submit>(the_conductor).id, ticket_of(1, 1));

  auto unheard = session_script{}; // Or was never heard: its tokens tell.
  unheard.meet_conductor();
  id = unheard.run(unheard.request(1));
  unheard.tokens(id, 0, {0}, finish_reason::none, 0, other_decode);
  unheard.tell(peer_down{the_decode});
  CHECK_EQ(unheard.count<submit>(), 0);
  unheard.tell(peer_down{other_decode});
  CHECK_EQ(unheard.count<submit>(), 1);
}
