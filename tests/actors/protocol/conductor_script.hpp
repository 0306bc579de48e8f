// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/conductor/conductor_core.hpp"
#include "tests/actors/core_script.hpp"

namespace perigee::testing {

/// A Conductor's core that knows a session, and a prefill and a decode instance with room; it decides without a policy.
struct conductor_script : core_script<conductor_core> {
  conductor_script() : core_script(options(), 1000 * ms) {
    tell(peer_up{the_session, {}});
    up(the_prefill);
    up(the_decode);
    forget();
  }

  static conductor_options options() {
    auto made = conductor_options{};
    made.self = the_conductor;
    made.members_expected = 2;
    made.policy = "least-seconds";
    return made;
  }

  void up(const address& who) {
    tell(peer_up{who, {}});
    tell(full_report(who, 1));
  }

  static report full_report(const address& who, uint64_t sequence) {
    auto news = report{};
    news.from = who;
    news.term = the_conductor.incarnation;
    news.sequence = sequence;
    news.full = true;
    news.token_capacity = 10'000;
    return news;
  }

  static submit request(uint64_t number, uint32_t attempt = 0) {
    auto made = submit{};
    made.from = the_session;
    made.id = ticket_of(number, attempt);
    made.prompt_tokens = 100;
    made.max_tokens = 10;
    made.deadline_ns = 60'000 * ms;
    return made;
  }

  void decide() {
    while (core.next_query(now))
      core.decide_without_policy(now);
  }

  /// Submits and places a request.
  ticket place(uint64_t number, uint32_t attempt = 0) {
    tell(request(number, attempt));
    decide();
    return ticket_of(number, attempt);
  }

  size_t placements() const {
    return core.ledger().placements().size();
  }
};

} // namespace perigee::testing
