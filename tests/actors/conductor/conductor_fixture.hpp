// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/conductor/conductor_core.hpp"
#include "actors/policy/route_kvcache_centric.hpp"

#include <functional>
#include <utility>
#include <variant>
#include <vector>

namespace perigee::testing {

inline constexpr auto ms = uint64_t{1'000'000};

/// A Conductor's core with its policy, and a log of what it sends.
struct conductor_fixture {
  explicit conductor_fixture(conductor_options options = {}) : core(with_self(options), now) {
    core.on(now, peer_up{session, {}});
  }

  static conductor_options with_self(conductor_options options) {
    options.self = {role::conductor, 0, 0, 5};
    options.members_expected = 1;
    options.policy = "kvcache-centric";
    return options;
  }

  address up(role kind, uint32_t index, uint64_t tokens = 10'000) {
    auto who = address{kind, index, index + 1, 100 + index};
    core.on(now, peer_up{who, {}});
    send_report(who, tokens);
    return who;
  }

  /// The prefill instance has computed it.
  void report_computed(const address& who, const ticket& id) {
    auto news = report{};
    news.from = who;
    news.term = 5;
    news.sequence = ++sequence;
    news.token_capacity = 10'000;
    news.prefills.push_back({0, 0, 0, id});
    core.on(now, news);
  }

  report full_report(const address& who, uint64_t tokens = 10'000) {
    auto news = report{};
    news.from = who;
    news.term = 5;
    news.sequence = ++sequence;
    news.full = true;
    news.token_capacity = tokens;
    news.stages_max = stages_max;
    return news;
  }

  void send_report(const address& who, uint64_t tokens = 10'000, std::vector<load_item> ended = {}) {
    auto news = full_report(who, tokens);
    news.ended = std::move(ended);
    core.on(now, news);
  }

  ticket submit(uint64_t number, uint32_t tokens, std::vector<block_key> keys = {}, uint32_t attempt = 0) {
    auto request = perigee::submit{};
    request.from = session;
    request.id = {{session.incarnation, number}, attempt};
    request.prompt_tokens = tokens;
    request.max_tokens = 100;
    request.keys = std::move(keys);
    request.deadline_ns = 60'000 * ms;
    core.on(now, request);
    decide();
    return request.id;
  }

  void decide() {
    while (auto query = core.next_query(now)) {
      for (const auto& load : core.take_load_changes())
        view.set(load);
      asked.push_back(query->placement);
      auto decision = policy(*query, view);
      decision.placement = query->placement;
      core.on(now, decision);
    }
  }

  template <class Message>
  std::vector<Message> sent() {
    auto found = std::vector<Message>{};
    for (auto& [to, message] : core.out.take()) {
      log.emplace_back(to, std::move(message));
    }
    for (auto& [to, message] : log)
      if (auto* match = std::get_if<Message>(&message))
        found.push_back(*match);
    return found;
  }

  uint64_t now = 1000 * ms;
  uint64_t sequence = 0;
  uint32_t stages_max = 1; ///< in reports
  address session = {role::session, 0, 0, 9};
  load_view view;
  std::function<route_decision(const route_query&, const load_view&)> policy =
    [](const route_query& query, const load_view& view) { return route_kvcache_centric{}.decide(query, view); };
  std::vector<uint64_t> asked; ///< numbers of the queries
  conductor_core core;
  std::vector<std::pair<address, std::variant<accepted, placed, rejected, withdrawn, cancel, redirected, report_ack,
                                              index_ack, conductor_hello>>>
    log;
};

inline std::vector<block_key> chain(uint64_t from, uint64_t count) {
  auto keys = std::vector<block_key>{};
  for (auto i = uint64_t{0}; i < count; ++i)
    keys.push_back({from, i});
  return keys;
}

} // namespace perigee::testing
