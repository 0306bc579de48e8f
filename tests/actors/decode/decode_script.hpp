// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/decode/decode_core.hpp"
#include "tests/actors/core_script.hpp"

namespace perigee::testing {

/// A decode core with its transport, stream and store client played by the test: 2 layers, blocks of 4 tokens.
struct decode_script : core_script<decode_core> {
  static constexpr uint32_t lane = 7;

  explicit decode_script(uint32_t slots = 16, uint32_t batch_max = 4, bool keep = true)
    : decode_script(options_for(slots, batch_max, keep)) {}

  explicit decode_script(decode_options options) : core_script(std::move(options)) {
    core.use_lane(lane);
  }

  static decode_options options_for(uint32_t slots, uint32_t batch_max, bool keep) {
    auto options = decode_options{};
    options.self = the_decode;
    options.layout = {2, 4, 64};
    options.slots = slots;
    options.region = {8, 0, 1 << 20};
    options.batch_max = batch_max;
    options.keep_generated = keep;
    return options;
  }

  /// `choices` choices of a prompt of `tokens` tokens: `first`, `first` + 1, ...
  static reserve reservation(uint64_t number, uint32_t tokens, uint32_t choices = 1, uint32_t attempt = 0,
                             token_id first = 1) {
    auto made = reserve{};
    made.from = the_prefill;
    made.id = ticket_of(number, attempt);
    made.term = the_conductor.incarnation;
    made.placement = number;
    made.session = the_session;
    made.tokens = tokens_from(first, tokens);
    made.root = root_key("model", "");
    made.gen.sampling.stop_ids = {end_token};
    made.gen.prompt_tokens = tokens;
    made.gen.max_tokens = 100;
    for (auto i = 0u; i < choices; ++i)
      made.gen.choices.push_back({i, 0});
    made.deadline_ns = 60'000 * ms;
    return made;
  }

  /// The job of that prompt where this instance computes it itself; nothing of it is cached.
  static prefill_job own_job(const reserve& like) {
    auto made = prefill_job{};
    made.from = like.session;
    made.id = like.id;
    made.term = like.term;
    made.placement = like.placement;
    made.decode = the_decode;
    made.tokens = like.tokens;
    made.root = like.root;
    made.gen = like.gen;
    made.keys = chain_keys(made.root, made.tokens, 4);
    made.deadline_ns = like.deadline_ns;
    return made;
  }

  granted reserve_for(const reserve& request) {
    tell(request);
    return only<granted>(request.from);
  }

  static handed_over announcement(const reserve& request, uint32_t pieces, token_id first = 500) {
    return {request.from, request.id, std::vector<token_id>(request.gen.choices.size(), first), pieces, 0, 0};
  }

  /// From the reservation to the join, with one piece; copies of a fork are done at once.
  void join(const reserve& request, token_id first = 500) {
    auto where = reserve_for(request);
    tell(announcement(request, 1, first));
    tell(arrived{where.immediate});
    CHECK_EQ(only<joined>(request.from).id, request.id);
    for (const auto& copy : take_local<run_copy>())
      tell(done(copy.work.id));
  }

  template <class Message>
  std::vector<Message> take_local() {
    return take_of<Message>(core.local);
  }

  template <class Message>
  Message only_local() {
    auto found = take_local<Message>();
    REQUIRE_EQ(found.size(), 1);
    return found[0];
  }

  /// The device finishes the step it has, each row with `token`; returns the step.
  kernels::decode_work step(token_id token = 600) {
    auto work = only_local<run_decode>().work;
    tell(done(work.id, std::vector<token_id>(work.rows.size(), token)));
    return work;
  }

  /// The shards have what was offered; returns how many blocks.
  size_t publish_all() {
    auto blocks = size_t{0};
    for (const auto& work : take_local<publish>()) {
      tell(published{work.id, static_cast<uint32_t>(work.keys.size())});
      blocks += work.keys.size();
    }
    return blocks;
  }

  /// The finishes that the session is told of now, by choice.
  std::vector<std::pair<ticket, finish_reason>> finishes() {
    auto found = std::vector<std::pair<ticket, finish_reason>>{};
    for (const auto& [to, batch] : take_sent<token_batch>())
      for (const auto& update : batch.updates)
        if (update.finish != finish_reason::none)
          found.emplace_back(update.id, update.finish);
    return found;
  }

  uint32_t slots(slot_state state) const {
    return core.pool().count(state);
  }

  /// Nothing is held: no attempt, no slot.
  bool empty() const {
    return core.attempts() == 0 && slots(slot_state::free) == core.pool().capacity() && core.pool().check();
  }
};

} // namespace perigee::testing
