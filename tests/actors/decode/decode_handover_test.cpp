// SPDX-License-Identifier: Apache-2.0
#include "tests/actors/decode/decode_script.hpp"

using namespace perigee;
using namespace perigee::testing;

TEST_CASE("inbound_transfers: an index is used again with another number, and the old one means nothing") {
  auto it = inbound_transfers{};
  it.use_lane(5);
  auto first = it.open(ticket_of(1));
  auto second = it.open(ticket_of(2));
  CHECK_EQ(lane_of(first), 5);
  CHECK(it.find(first) == ticket_of(1));
  CHECK(it.find(second) == ticket_of(2));
  it.close(first);
  CHECK_FALSE(it.find(first));
  auto third = it.open(ticket_of(3));
  CHECK_EQ(index_of(third), index_of(first));
  CHECK(third != first);
  CHECK_FALSE(it.find(first));
  CHECK(it.find(third) == ticket_of(3));
  CHECK_FALSE(it.find(make_immediate(5, 9, 1)));
  CHECK_FALSE(it.find(make_immediate(6, index_of(third), 2))); // Another lane's.
  CHECK_EQ(it.size(), 2);
}

TEST_CASE("inbound_transfers: there are as many as an immediate has room for") {
  auto it = inbound_transfers{};
  auto last = uint32_t{0};
  for (auto number = uint64_t{0}; !it.full(); ++number)
    last = it.open(ticket_of(number));
  CHECK_EQ(it.size(), immediate_indices);
  it.close(last);
  CHECK_FALSE(it.full());
  CHECK_EQ(index_of(it.open(ticket_of(0))), index_of(last));
}

TEST_CASE("refusals: one revision and those before it are refused again") {
  auto it = refusals{};
  CHECK_FALSE(it.covers(ticket_of(1), 0));
  it.add(ticket_of(1), 1);
  it.add(ticket_of(1), 0);
  CHECK(it.covers(ticket_of(1), 0));
  CHECK(it.covers(ticket_of(1), 1));
  CHECK_FALSE(it.covers(ticket_of(1), 2));
  CHECK_FALSE(it.covers(ticket_of(1, 1), 0));
  for (auto number = uint64_t{2}; number < 6000; ++number)
    it.add(ticket_of(number), 0);
  CHECK_FALSE(it.covers(ticket_of(1), 0)); // Bounded.
  CHECK(it.covers(ticket_of(5999), 0));
}

TEST_CASE("decode_core: a reservation is granted once, and answered the same each time") {
  auto it = decode_script{};
  auto request = it.reservation(1, 10);
  auto first = it.reserve_for(request);
  CHECK_EQ(first.slots.size(), 3);
  CHECK_EQ(lane_of(first.immediate), it.lane);
  CHECK_EQ(first.region.key, 8);
  auto second = it.reserve_for(request);
  CHECK(second.slots == first.slots);
  CHECK_EQ(second.immediate, first.immediate);
  CHECK_EQ(it.slots(slot_state::transfer), 3);
  request.from = other_prefill; // Nobody else gets these slots.
  it.tell(request);
  CHECK_EQ(it.count<granted>(), 0);
}

TEST_CASE("decode_core: every running sequence keeps room for its next block before anybody joins") {
  auto it = decode_script{9};
  it.join(it.reservation(1, 8));
  it.join(it.reservation(2, 8, 1, 0, 50));
  it.tell(it.reservation(3, 12, 1, 0, 100)); // Three blocks of four free ones; two may be needed.
  auto answer = it.only<refused>(the_prefill);
  CHECK(answer.reason == ec::out_of_blocks);
  CHECK_EQ(answer.revision, 0);
  it.reserve_for(it.reservation(4, 8, 1, 0, 100));
}

TEST_CASE("decode_core: what makes no sense is refused") {
  auto it = decode_script{};
  it.tell(it.reservation(1, 0));
  it.tell(it.reservation(2, 8, 0));
  CHECK_EQ(it.count<refused>(), 2);
  CHECK(it.empty());
}

TEST_CASE("decode_core: a late copy of a refused reservation is refused again, though there is room by now") {
  auto it = decode_script{4};
  auto holder = it.reservation(1, 16);
  it.reserve_for(holder);
  auto late = it.reservation(2, 8, 1, 0, 50);
  it.tell(late);
  CHECK_EQ(it.count<refused>(), 1);
  it.tell(quiesced{the_prefill, holder.id, true});
  it.tell(late);
  CHECK(it.only<refused>(the_prefill).reason == ec::out_of_blocks);
  CHECK(it.empty()); // Prefill has gone elsewhere: nobody would free the slots.
  late.revision = 1; // The Conductor sent it here again.
  it.reserve_for(late);
  it.tell(late);
  CHECK_EQ(it.count<granted>(), 1);
}

TEST_CASE("decode_core: attempts that are over are stale, and a higher one ends the lower") {
  auto it = decode_script{};
  auto lower = it.reservation(1, 8);
  it.reserve_for(lower);
  auto higher = it.reservation(1, 9, 1, 1);
  it.join(higher);
  CHECK_EQ(it.slots(slot_state::transfer), 2); // Writes to the lower one's may still land.
  it.tell(lower);
  CHECK(it.only<refused>(the_prefill).reason == ec::stale);
  it.tell(it.announcement(lower, 1));
  CHECK(it.only<refused>(the_prefill).reason == ec::stale);
  it.tell(quiesced{the_prefill, lower.id, true});
  CHECK_EQ(it.slots(slot_state::transfer), 0);
  it.tell(lower);
  CHECK(it.only<refused>(the_prefill).reason == ec::stale);
  auto highest = it.reservation(1, 9, 1, 2); // Ends one that runs, after its step.
  it.reserve_for(highest);
  CHECK_EQ(it.core.attempts(), 2);
  it.step();
  CHECK_EQ(it.core.attempts(), 1);
}

TEST_CASE("decode_core: a sequence joins when the announced pieces have arrived, in whichever order") {
  for (auto announced_at : {0, 1, 2}) {
    CAPTURE(announced_at);
    auto it = decode_script{};
    auto request = it.reservation(1, 10);
    auto where = it.reserve_for(request);
    for (auto i = 0; i < 3; ++i) {
      if (i == announced_at)
        it.tell(it.announcement(request, 2));
      else
        it.tell(arrived{where.immediate});
      CHECK_EQ(it.count<joined>(), i == 2 ? 1 : 0);
    }
    CHECK_EQ(it.slots(slot_state::live), 3);
    CHECK_EQ(it.slots(slot_state::transfer), 0);
    auto first = it.only<token_batch>(the_session);
    CHECK(first.updates.at(0).tokens == std::vector<token_id>{500});
    it.tell(it.announcement(request, 2)); // Repeated, because the answer was lost.
    CHECK_EQ(it.only<joined>(the_prefill).id, request.id);
    it.step(end_token);
    it.publish_all();
    CHECK(it.empty());
    it.tell(it.announcement(request, 2));
    CHECK_EQ(it.only<joined>(the_prefill).id, request.id);
  }
}

TEST_CASE("decode_core: a late write means nothing") {
  auto it = decode_script{};
  auto request = it.reservation(1, 8);
  auto where = it.reserve_for(request);
  it.tell(quiesced{the_prefill, request.id, true});
  it.tell(arrived{where.immediate});
  auto next = it.reservation(2, 8, 1, 0, 50);
  auto there = it.reserve_for(next);
  CHECK(there.immediate != where.immediate);
  it.tell(it.announcement(next, 1));
  it.tell(arrived{where.immediate});
  CHECK_EQ(it.count<joined>(), 0);
  it.tell(arrived{there.immediate});
  CHECK_EQ(it.count<joined>(), 1);
}

TEST_CASE("decode_core: an announcement that fits no reservation is refused") {
  auto it = decode_script{};
  auto request = it.reservation(1, 8, 2);
  it.tell(it.announcement(request, 1));
  CHECK(it.only<refused>(the_prefill).reason == ec::stale);
  request.revision = 3;
  it.reserve_for(request);
  auto other = it.announcement(request, 1);
  other.from = other_prefill;
  it.tell(other);
  CHECK_EQ(it.count<refused>(), 1);
  auto short_one = it.announcement(request, 1);
  short_one.first_tokens.pop_back();
  it.tell(short_one);
  CHECK_EQ(it.only<refused>(the_prefill).revision, 3);
}

TEST_CASE("decode_core: choices share the full blocks of the prompt and copy its partial tail") {
  auto it = decode_script{};
  auto request = it.reservation(1, 10, 3);
  auto where = it.reserve_for(request);
  it.tell(it.announcement(request, 0));
  REQUIRE_EQ(it.core.local.size(), 2);
  CHECK(std::holds_alternative<run_copy>(it.core.local[0])); // Before the step: the stream keeps the order.
  auto copy = it.only_local<run_copy>().work;
  REQUIRE_EQ(copy.slots.size(), 2);
  CHECK_EQ(copy.slots[0].first, where.slots[2]);
  CHECK_EQ(copy.slots[1].first, where.slots[2]);
  CHECK_EQ(it.core.pool().refs(where.slots[0]), 3);
  auto step = it.only_local<run_decode>().work;
  REQUIRE_EQ(step.rows.size(), 3);
  CHECK_EQ(step.rows[1].blocks[1], where.slots[1]);
  CHECK_EQ(step.rows[1].blocks[2], copy.slots[0].second);
  CHECK_EQ(step.rows[2].sample.choice, 2);
  it.tell(done(copy.id));
  CHECK_EQ(it.core.pool().refs(where.slots[2]), 1);
  it.tell(done(step.id, {end_token, 600, end_token}));
  CHECK_EQ(it.core.pool().refs(where.slots[0]), 1);
  it.step(end_token);
  it.publish_all();
  CHECK(it.empty());
}

TEST_CASE("decode_core: what a copy reads and writes is nobody else's until it ran") {
  auto it = decode_script{};
  auto request = it.reservation(1, 6, 2);
  request.gen.max_tokens = 1; // Both choices are over before the device gets to it.
  auto where = it.reserve_for(request);
  it.tell(it.announcement(request, 0));
  auto copy = it.only_local<run_copy>().work;
  CHECK_EQ(it.core.attempts(), 0);
  CHECK_EQ(it.slots(slot_state::live), 2);
  CHECK_EQ(it.core.pool().refs(where.slots[1]), 1);
  CHECK_EQ(it.core.pool().refs(copy.slots.at(0).second), 1);
  it.tell(done(copy.id));
  CHECK(it.empty());
}

TEST_CASE("decode_core: choices of a prompt that ends with a block copy nothing") {
  auto it = decode_script{};
  auto request = it.reservation(1, 8, 2);
  it.reserve_for(request);
  it.tell(it.announcement(request, 0));
  CHECK(it.take_local<run_copy>().empty());
  CHECK_EQ(it.take_local<run_decode>().size(), 1);
  CHECK_EQ(it.slots(slot_state::live), 4); // Two shared, and a new one each.
}

TEST_CASE("decode_core: a choice without room for its tail is given back to the session, the others run") {
  auto it = decode_script{4};
  auto request = it.reservation(1, 10, 3);
  it.reserve_for(request);
  it.tell(it.announcement(request, 0));
  auto ended = it.finishes();
  REQUIRE_EQ(ended.size(), 1);
  CHECK(ended[0].second == finish_reason::preempted);
  CHECK_EQ(it.only_local<run_decode>().work.rows.size(), 2);
}

TEST_CASE("decode_core: a choice that ended with its first token does not run") {
  auto it = decode_script{};
  auto request = it.reservation(1, 10, 2);
  it.reserve_for(request);
  auto news = it.announcement(request, 0);
  news.first_tokens = {end_token, 501};
  it.tell(news);
  it.tell(done(it.only_local<run_copy>().work.id));
  CHECK_EQ(it.step(end_token).rows.at(0).sample.choice, 1);
  it.publish_all();
  CHECK(it.empty());
}

TEST_CASE("decode_core: where steps are long, a first token that comes during one is told when the next begins") {
  struct {
    uint64_t promised_ns, step_ns, joins_after_ns;
    bool is_slow, is_held;
  } rows[] = {{100 * ms, 60 * ms, 10 * ms, true, true}, // 50 ms until the step ends, and another of 60
              {100 * ms, 60 * ms, 45 * ms, true, false},
              {100 * ms, 60 * ms, 200 * ms, true, false}, // Overdue: it may end at any time.
              {100 * ms, 45 * ms, 0, false, false},
              {0, 500 * ms, 0, false, false}};
  for (const auto& row : rows) {
    CAPTURE(row.step_ns);
    CAPTURE(row.joins_after_ns);
    auto options = decode_script::options_for(16, 4, true);
    options.slo_tbt_ns = row.promised_ns;
    auto it = decode_script{options};
    it.join(it.reservation(1, 8));
    it.now += row.step_ns;
    it.step();
    auto request = it.reservation(2, 10, 3, 0, 100);
    auto where = it.reserve_for(request);
    CHECK_EQ(where.tells_first, row.is_slow);
    it.forget();
    it.now += row.joins_after_ns;
    auto news = it.announcement(request, 0);
    news.first_tokens = {501, end_token, 502};
    it.tell(news);
    auto told = [&] {
      auto tokens = std::vector<token_id>{};
      for (const auto& [to, batch] : it.take_sent<token_batch>())
        for (const auto& update : batch.updates)
          if (update.id == request.id)
            tokens.insert(tokens.end(), update.tokens.begin(), update.tokens.end());
      return tokens;
    };
    // What ends with its first token has no second one to wait for.
    CHECK(told() == (row.is_held ? std::vector<token_id>{end_token} : news.first_tokens));
    it.step();
    CHECK(told() == (row.is_held ? std::vector<token_id>{501, 502} : std::vector<token_id>{}));
    it.step();
    CHECK(told() == std::vector<token_id>{600, 600});
  }
}

TEST_CASE("decode_core: a first token that waits is told to nobody once its sequence has ended") {
  auto options = decode_script::options_for(16, 4, true);
  options.slo_tbt_ns = 100 * ms;
  auto it = decode_script{options};
  it.join(it.reservation(1, 8));
  it.now += 90 * ms;
  it.step();
  auto request = it.reservation(2, 8);
  it.reserve_for(request);
  it.tell(it.announcement(request, 0, 501));
  it.forget();
  it.tell(cancel{the_conductor, 5, request.id});
  it.step();
  for (const auto& [to, batch] : it.take_sent<token_batch>())
    for (const auto& update : batch.updates)
      CHECK(update.id != request.id);
}

TEST_CASE("decode_core: slots of an attempt that will not come are free when no write can land in them") {
  for (auto clean : {true, false}) {
    CAPTURE(clean);
    auto it = decode_script{};
    auto request = it.reservation(1, 8);
    it.reserve_for(request);
    it.tell(quiesced{the_prefill, request.id, clean});
    it.tell(quiesced{the_prefill, request.id, clean});
    CHECK_EQ(it.count<quiesced_ack>(), 2);
    if (!clean) {
      auto fence = it.only_local<fence_node>();
      CHECK(fence.peer == the_prefill);
      CHECK_EQ(it.slots(slot_state::transfer), 2);
      it.tell(node_fenced{fence.id + 1});
      CHECK_EQ(it.slots(slot_state::transfer), 2);
      it.tell(node_fenced{fence.id});
      it.tell(node_fenced{fence.id});
    }
    CHECK(it.empty());
    CHECK(it.take_local<fence_node>().empty());
  }
}

TEST_CASE("decode_core: quiesced from elsewhere, or of what runs here, is acknowledged and changes nothing") {
  auto it = decode_script{};
  auto request = it.reservation(1, 8);
  it.reserve_for(request);
  it.tell(quiesced{other_prefill, request.id, true});
  CHECK_EQ(it.count<quiesced_ack>(), 1);
  CHECK_EQ(it.slots(slot_state::transfer), 2);
  auto running = it.reservation(2, 8, 1, 0, 50);
  it.join(running);
  it.tell(quiesced{the_prefill, running.id, true});
  it.tell(quiesced{the_prefill, ticket_of(99), true}); // Its reservation is still on its way.
  CHECK_EQ(it.count<quiesced_ack>(), 2);
  CHECK_EQ(it.core.attempts(), 2);
  it.tell(it.reservation(99, 8));
  CHECK(it.only<refused>(the_prefill).reason == ec::stale);
}

TEST_CASE("decode_core: cancel is answered in every state; slots that a write may reach stay") {
  for (auto state : {"unknown", "transfer", "leaving", "running", "in step"}) {
    CAPTURE(state);
    auto is = [&](const char* name) { return state == std::string{name}; };
    auto it = decode_script{8, 1};
    if (is("running"))
      it.join(it.reservation(9, 8, 1, 0, 50)); // The batch has one row: this one's.
    auto request = it.reservation(1, 8);
    if (is("transfer") || is("leaving"))
      it.reserve_for(request);
    if (is("leaving"))
      it.tell(peer_down{the_session});
    if (is("running") || is("in step"))
      it.join(request);
    it.forget();
    it.tell(cancel{the_conductor, 5, request.id});
    CHECK_EQ(it.count<cancelled>(), is("in step") ? 0 : 1);
    if (is("transfer") || is("leaving")) {
      CHECK_EQ(it.slots(slot_state::transfer), 2);
      it.tell(it.announcement(request, 0));
      CHECK(it.only<refused>(the_prefill).reason == ec::stale);
      it.tell(quiesced{the_prefill, request.id, true});
    }
    if (is("in step")) {
      it.step();
      CHECK_EQ(it.only<cancelled>(the_conductor).id, request.id);
    }
    CHECK_EQ(it.count<token_batch>(), 0); // The session has left it.
    if (is("running")) {
      it.tell(cancel{the_conductor, 5, ticket_of(9)});
      it.step();
    }
    CHECK(it.empty());
    it.forget();
    it.tell(cancel{the_conductor, 5, request.id});
    CHECK_EQ(it.count<cancelled>(), 1);
    it.tell(request);
    CHECK(it.only<refused>(the_prefill).reason == ec::stale);
  }
}

TEST_CASE("decode_core: a dead writer is fenced before its slots are free; what joined goes on") {
  auto it = decode_script{};
  it.join(it.reservation(1, 8));
  it.reserve_for(it.reservation(2, 8, 1, 0, 50));
  auto leaving = it.reservation(3, 8, 1, 0, 90);
  it.reserve_for(leaving);
  it.tell(cancel{the_conductor, 5, leaving.id});
  auto of_another = it.reservation(4, 8, 1, 0, 130);
  of_another.from = other_prefill;
  it.reserve_for(of_another);
  it.tell(peer_down{the_prefill});
  auto fences = it.take_local<fence_node>();
  REQUIRE_EQ(fences.size(), 2);
  CHECK_EQ(it.slots(slot_state::transfer), 6);
  for (const auto& fence : fences)
    it.tell(node_fenced{fence.id});
  CHECK_EQ(it.slots(slot_state::transfer), 2);
  CHECK_EQ(it.core.attempts(), 2);
  CHECK_EQ(it.step().rows.size(), 1);
}

TEST_CASE("decode_core: the slots of a group's request wait for all of its stages") {
  constexpr auto third_prefill = address{role::prefill, 2, 6, 22};
  auto reserved = [&] {
    auto it = decode_script{};
    for (const auto& who : {the_prefill, other_prefill, third_prefill})
      it.tell(peer_up{who, {}});
    auto request = it.reservation(1, 8);
    request.stages = {other_prefill, third_prefill};
    it.reserve_for(request);
    return it;
  };
  auto unclean = reserved();
  unclean.tell(quiesced{the_prefill, ticket_of(1), false});
  auto fences = unclean.take_local<fence_node>();
  REQUIRE_EQ(fences.size(), 3);
  for (const auto& fence : fences) {
    CHECK_EQ(unclean.slots(slot_state::transfer), 2);
    unclean.tell(node_fenced{fence.id});
  }
  CHECK(unclean.empty());

  auto stage_dies = reserved();
  stage_dies.tell(peer_down{other_prefill});
  auto fence = stage_dies.only_local<fence_node>();
  CHECK(fence.peer == other_prefill);
  stage_dies.tell(node_fenced{fence.id});
  CHECK_EQ(stage_dies.slots(slot_state::transfer), 2); // The head has not said that the others are quiet.
  stage_dies.tell(quiesced{the_prefill, ticket_of(1), true});
  CHECK(stage_dies.empty());

  auto head_dies = reserved();
  head_dies.tell(peer_down{the_prefill});
  CHECK_EQ(head_dies.count<cancel>(), 2);
  head_dies.tick_after(300 * ms);
  CHECK_EQ(head_dies.count<cancel>(), 2); // Repeated.
  head_dies.tell(cancelled{other_prefill, ticket_of(1)});
  head_dies.tick_after(300 * ms);
  CHECK_EQ(head_dies.only<cancel>(third_prefill).id, ticket_of(1));
  head_dies.tell(peer_down{third_prefill});
  fences = head_dies.take_local<fence_node>();
  REQUIRE_EQ(fences.size(), 3);
  for (const auto& one : fences) {
    CHECK_EQ(head_dies.slots(slot_state::transfer), 2);
    head_dies.tell(node_fenced{one.id});
  }
  CHECK(head_dies.empty());
}

TEST_CASE("decode_core: a session's death ends what runs for it, and what was coming") {
  auto it = decode_script{};
  it.join(it.reservation(1, 8));
  auto coming = it.reservation(2, 8, 1, 0, 50);
  it.reserve_for(coming);
  it.forget();
  it.tell(peer_down{the_session});
  it.step();
  it.tick_after(1'000 * ms);
  CHECK_EQ(it.count<token_batch>(), 0);
  CHECK_EQ(it.slots(slot_state::transfer), 2); // Until prefill, which hears of the death too, is through.
  it.tell(quiesced{the_prefill, coming.id, true});
  CHECK(it.empty());
}

TEST_CASE("decode_core: a deadline ends an attempt, running or coming") {
  auto it = decode_script{};
  auto coming = it.reservation(1, 8);
  auto running = it.reservation(2, 8, 1, 0, 50);
  coming.deadline_ns = running.deadline_ns = 1'000 * ms;
  it.reserve_for(coming);
  it.join(running);
  it.tick_after(999 * ms);
  CHECK(it.finishes().empty());
  it.tick_after(1 * ms);
  it.step();
  auto ended = it.finishes();
  REQUIRE_EQ(ended.size(), 1);
  CHECK(ended[0] == std::pair{running.id, finish_reason::failed});
  CHECK_EQ(it.slots(slot_state::transfer), 2);
  it.tell(it.announcement(coming, 0));
  CHECK(it.only<refused>(the_prefill).reason == ec::stale);
  it.tell(quiesced{the_prefill, coming.id, true});
  CHECK(it.empty());
}
