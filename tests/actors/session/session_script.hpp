// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/session/session_core.hpp"
#include "tests/actors/core_script.hpp"

namespace perigee::testing {

/// Token t is the letter 'a' + t % 26; at the end comes '.', to show that it was flushed.
class letter_decoder final : public text_decoder {
public:
  std::string push(token_id token) override {
    return std::string(1, static_cast<char>('a' + token % 26));
  }
  std::string flush() override {
    return ".";
  }
};

/// A session core with its client, Conductor and instances played by the test.
struct session_script : core_script<session_core> {
  explicit session_script(uint32_t requests_max = 100, uint32_t attempts_max = 64)
    : core_script(options_for(requests_max, attempts_max)) {}

  static session_options options_for(uint32_t requests_max, uint32_t attempts_max) {
    auto options = session_options{};
    options.self = the_session;
    options.block_tokens = 4;
    options.fingerprint = "model";
    options.decoder = [](std::span<const token_id>) { return std::make_unique<letter_decoder>(); };
    options.seed = 1;
    options.requests_max = requests_max;
    options.attempts_max = attempts_max;
    return options;
  }

  static open_request request(uint64_t client, uint32_t tokens = 6, uint32_t choices = 1) {
    auto made = open_request{};
    made.client = client;
    made.prompt = tokens_from(1, tokens);
    made.max_tokens = 20;
    made.choices = choices;
    made.deadline_ns = 60'000 * ms;
    return made;
  }

  void meet_conductor() {
    tell(conductor_hello{the_conductor, the_conductor.incarnation});
    only<report>(the_conductor);
  }

  /// The place of a ticket, as the Conductor tells it.
  static placed place(const ticket& id, uint32_t revision = 0, const address& prefill = the_prefill,
                      const address& decode = the_decode) {
    auto made = placed{};
    made.from = the_conductor;
    made.term = the_conductor.incarnation;
    made.id = id;
    made.revision = revision;
    made.placement = 3;
    made.prefill = prefill;
    made.decode = decode;
    made.prefix = {{far_shard, 1}};
    return made;
  }

  /// A request up to where its prefill instance has the job. It gets the next request number.
  ticket run(const open_request& what) {
    tell(what);
    auto asked = only<submit>(the_conductor);
    tell(accepted{the_conductor, asked.id});
    start(asked.id);
    return asked.id;
  }

  /// Places a submitted ticket; returns the job.
  prefill_job start(const ticket& id, const address& prefill = the_prefill, const address& decode = the_decode) {
    tell(place(id, 0, prefill, decode));
    only<placed_ack>(the_conductor);
    auto job = only<prefill_job>(prefill);
    tell(job_ack{prefill, id});
    return job;
  }

  /// Tokens `first`, ... of a choice; returns the acknowledgement, an empty one if it waits for more.
  token_ack tokens(const ticket& id, uint32_t first, std::vector<token_id> list,
                   finish_reason finish = finish_reason::none, uint32_t choice = 0, const address& from = the_decode) {
    tell(token_batch{from, {{id, choice, first, token_run(list.begin(), list.end()), finish, 4}}});
    auto answers = take_sent<token_acks>();
    if (answers.empty())
      return {};
    REQUIRE_EQ(answers.size(), 1);
    REQUIRE(answers[0].first == from);
    REQUIRE_EQ(answers[0].second.acks.size(), 1);
    return answers[0].second.acks[0];
  }

  template <class Event>
  std::vector<Event> take_events() {
    return take_of<Event>(core.events);
  }

  template <class Event>
  Event only_event() {
    auto found = take_events<Event>();
    REQUIRE_EQ(found.size(), 1);
    return found[0];
  }

  /// All text that a choice has got since the last look.
  std::string text(uint32_t choice = 0) {
    auto result = std::string{};
    auto others = std::vector<session_core::event>{};
    for (auto& texts : take_events<client_texts>())
      for (auto& item : texts.items)
        if (item.choice == choice)
          result += item.text;
        else
          others.push_back(client_texts{{std::move(item)}});
    core.events.insert(core.events.end(), others.begin(), others.end());
    return result;
  }

  /// The Conductor confirms what was withdrawn.
  void confirm_withdrawals() {
    for (const auto& [to, message] : take_sent<withdraw>())
      tell(withdrawn{to, message.id});
  }
};

} // namespace perigee::testing
