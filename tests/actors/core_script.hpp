// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/handover_messages.hpp"
#include "actors/core/store_messages.hpp"
#include "actors/core/transfer_messages.hpp"
#include "tests/support/testing.hpp"

#include <concepts>
#include <iterator>
#include <numeric>
#include <utility>
#include <variant>
#include <vector>

namespace perigee::testing {

inline constexpr auto ms = uint64_t{1'000'000};

/// Ends a choice, in every script.
inline constexpr token_id end_token = 7777;

/// The cast of every script: who is who.
inline constexpr auto the_conductor = address{role::conductor, 0, 0, 5};
inline constexpr auto next_conductor = address{role::conductor, 0, 0, 6};
inline constexpr auto the_session = address{role::session, 0, 0, 9};
inline constexpr auto the_prefill = address{role::prefill, 0, 1, 20};
inline constexpr auto other_prefill = address{role::prefill, 1, 2, 21};
inline constexpr auto the_decode = address{role::decode, 0, 3, 30};
inline constexpr auto other_decode = address{role::decode, 1, 4, 31};
inline constexpr auto local_shard = address{role::shard, 0, 1, 40};
inline constexpr auto far_shard = address{role::shard, 1, 5, 41};

/// Request `number` of `the_session`.
constexpr ticket ticket_of(uint64_t number, uint32_t attempt = 0) {
  return {{the_session.incarnation, number}, attempt};
}

/// `count` tokens: `first`, `first` + 1, ...
inline std::vector<token_id> tokens_from(token_id first, uint32_t count) {
  auto tokens = std::vector<token_id>(count);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

/// The device's answer to item `id`.
inline work_done done(uint64_t id, std::vector<token_id> tokens = {}, errc code = errc::none) {
  auto news = work_done{};
  news.result.id = id;
  news.result.outcome.code = code;
  news.result.tokens = std::move(tokens);
  news.result.busy_ns = 1000;
  return news;
}

/// The transport's answer to transfer `id`.
inline moved ended_move(uint64_t id, errc code = errc::none) {
  auto news = moved{};
  news.id = id;
  news.outcome.code = code;
  return news;
}

/// A store client's answer that has some of the blocks, and of those that may be lent some lent, from slot 100 on, but
/// none that has no slot and is not lent: `below(n)` draws from [0, n).
template <class Below>
fetched some_lent(const fetch& ask, Below&& below) {
  auto blocks = static_cast<uint32_t>(below(ask.keys.size() + 1));
  auto news = fetched{ask.id, blocks, 0};
  for (auto block = 0u; block < blocks; ++block) {
    auto lends = block < ask.lend && below(3) > 0;
    if (!lends && ask.slots[block] == no_slot)
      news.blocks = blocks = block;
    else if (ask.lend > 0)
      news.lent.push_back(lends ? 100 + block : no_slot);
  }
  return news;
}

/// A core, its clock, and what it wants sent: a script says who tells it what, and takes what it answers.
template <class Core>
struct core_script {
  template <class... Args>
  requires std::constructible_from<Core, Args...>
  explicit core_script(Args&&... args) : core(std::forward<Args>(args)...) {}

  using sent_list = decltype(std::declval<Core&>().out.take());

  template <class Message>
  void tell(const Message& message) {
    core.on(now, message);
  }

  void tick_after(uint64_t span_ns) {
    now += span_ns;
    core.tick(now);
  }

  /// Everything of that kind that it wants sent and that was not taken yet, in order.
  template <class Message>
  std::vector<std::pair<address, Message>> take_sent() {
    auto fresh = core.out.take();
    std::move(fresh.begin(), fresh.end(), std::back_inserter(sent_));
    auto found = std::vector<std::pair<address, Message>>{};
    auto others = sent_list{};
    for (auto& [to, message] : sent_)
      if (auto* match = std::get_if<Message>(&message))
        found.emplace_back(to, std::move(*match));
      else
        others.emplace_back(to, std::move(message));
    sent_ = std::move(others);
    return found;
  }

  /// How many of that kind; takes them.
  template <class Message>
  size_t count() {
    return take_sent<Message>().size();
  }

  /// The only one of that kind; it must go to `to`.
  template <class Message>
  Message only(const address& to) {
    auto found = take_sent<Message>();
    REQUIRE_EQ(found.size(), 1);
    REQUIRE(found[0].first == to);
    return found[0].second;
  }

  /// Forgets what was not taken.
  void forget() {
    core.out.take();
    sent_.clear();
  }

  uint64_t now = 1000 * ms;
  Core core;

private:
  sent_list sent_;
};

/// Takes all messages of one kind out of a list of local messages.
template <class Message, class List>
std::vector<Message> take_of(List& list) {
  auto found = std::vector<Message>{};
  auto others = List{};
  for (auto& item : list)
    if (auto* match = std::get_if<Message>(&item))
      found.push_back(std::move(*match));
    else
      others.push_back(std::move(item));
  list = std::move(others);
  return found;
}

} // namespace perigee::testing
