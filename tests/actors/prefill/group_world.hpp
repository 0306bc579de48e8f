// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/prefill/prefill_core.hpp"
#include "tests/actors/core_script.hpp"

#include <deque>
#include <map>
#include <numeric>
#include <set>

namespace perigee::testing {

/// Prefill cores that hear each other at once; the last one is the head of every group. The test plays decode; devices,
/// transports and store clients do what they are asked, a step at a time: 6 layers, blocks of 4 tokens, activations of
/// the size of one layer. A message to whom `deaf` names is lost.
struct group_world {
  static constexpr uint32_t layers = 6;
  static constexpr uint64_t layer_bytes = 64;

  explicit group_world(uint32_t stages, uint32_t slots = 16) {
    for (auto i = 0u; i < stages; ++i) {
      auto options = prefill_options{};
      options.self = who(i);
      options.layout = {layers, 4, layer_bytes};
      options.slots = slots;
      options.region = i;
      options.remote = {i + 1, 0, 1 << 20};
      options.activation_bytes_block = layer_bytes;
      options.local_shard = 0;
      options.chunk_tokens = 8;
      cores.emplace_back(options).use_lane(i + 1);
    }
    for (auto& core : cores) {
      core.on(now, peer_up{{role::shard, 0, 1, 40}, {}});
      for (auto i = 0u; i < stages; ++i)
        core.on(now, peer_up{who(i), {}});
    }
  }

  static address who(uint32_t place) {
    return {role::prefill, place, place + 1, 20 + place};
  }
  uint32_t head() const {
    return static_cast<uint32_t>(cores.size()) - 1;
  }

  prefill_job job(uint64_t number, uint32_t tokens) const {
    auto made = prefill_job{};
    made.from = the_session;
    made.id = ticket_of(number);
    made.decode = the_decode;
    made.tokens = tokens_from(1, tokens);
    made.root = root_key("model", "");
    made.keys = chain_keys(made.root, made.tokens, 4);
    made.gen.sampling.stop_ids = {end_token};
    made.gen.prompt_tokens = tokens;
    made.gen.max_tokens = 100;
    made.gen.choices = {{0, 0}};
    made.deadline_ns = 60'000 * ms;
    made.group.chunk_tokens = 8;
    for (auto i = 0u; i < head(); ++i)
      made.group.others.push_back(who(i));
    return made;
  }

  template <class Message>
  void tell(uint32_t place, const Message& message) {
    cores[place].on(now, message);
    deliver();
  }

  /// Hands over what the cores say to each other; the rest goes to `outside`.
  void deliver() {
    for (auto any = true; any;) {
      any = false;
      for (auto place = 0u; place < cores.size(); ++place)
        for (auto& [to, message] : cores[place].out.take()) {
          any = true;
          hand(to, message);
        }
    }
  }

  template <class Sent>
  void hand(const address& to, Sent& message) {
    if (to.kind != role::prefill) {
      outside.emplace_back(to, std::move(message));
      return;
    }
    if (deaf.contains(to.index) || dead.contains(to.index))
      return;
    std::visit(
      [&](auto& content) {
        if constexpr (requires { cores[0].on(now, content); })
          cores[to.index].on(now, content);
      },
      message);
  }

  /// Everything that the cores asked of what stands beside them is done, in order, until nothing is left; devices only
  /// if `devices` says so. Decode grants slots as soon as it is asked.
  void run(bool devices = true, token_id token = 500) {
    for (auto any = true; any;) {
      any = false;
      deliver();
      answer_reserve();
      for (auto place = 0u; place < cores.size(); ++place) {
        auto held = decltype(cores[place].local){};
        for (auto& item : std::exchange(cores[place].local, {})) {
          if (dead.contains(place))
            continue;
          if (!devices && std::holds_alternative<run_prefill>(item)) {
            held.push_back(std::move(item));
            continue;
          }
          any = true;
          std::visit([&](auto& content) { serve(place, content, token); }, item);
          deliver();
        }
        auto& local = cores[place].local;
        local.insert(local.begin(), std::make_move_iterator(held.begin()), std::make_move_iterator(held.end()));
      }
    }
  }

  void serve(uint32_t place, fetch& order, token_id) {
    fetches.push_back(order);
    auto blocks = std::min<uint32_t>(stored, static_cast<uint32_t>(order.keys.size()));
    tell(place, fetched{order.id, blocks - (place == poorest), 0});
  }
  void serve(uint32_t, publish_part&, token_id) {
    FAIL("a group publishes whole blocks");
  }
  void serve(uint32_t place, publish& order, token_id) {
    publishes.emplace_back(place, order);
    tell(place, published{order.id, static_cast<uint32_t>(order.keys.size())});
  }
  void serve(uint32_t, cancel_store&, token_id) {}
  void serve(uint32_t, give_back&, token_id) {
    FAIL("a group was lent nothing");
  }
  void serve(uint32_t, cancel_move&, token_id) {}
  void serve(uint32_t, cancel_work&, token_id) {}
  void serve(uint32_t place, fence_node& order, token_id) {
    fences.emplace_back(place, order.peer);
    tell(place, node_fenced{order.id});
  }
  void serve(uint32_t place, move_blocks& order, token_id) {
    if (order.peer == the_decode) {
      ++arrived_at_decode;
      for (const auto& piece : order.pieces)
        for (auto byte = piece.remote_offset; byte < piece.remote_offset + piece.bytes; byte += layer_bytes)
          ++written[byte];
    }
    tell(place, ended_move(order.id));
    if (order.peer.kind == role::prefill && !dead.contains(order.peer.index))
      tell(order.peer.index, arrived{*order.immediate});
  }
  void serve(uint32_t place, run_prefill& order, token_id token) {
    const auto& work = order.work;
    works.emplace_back(place, work);
    for (auto layer = work.layers.first; layer < work.layers.end_of(layers); ++layer)
      tell(place, layer_done{work.id, layer});
    tell(place, done(work.id, std::vector<token_id>(work.samples.size(), token)));
  }

  void answer_reserve() {
    for (const auto& [to, request] : take_outside<reserve>()) {
      CHECK(to == the_decode);
      reserves.push_back(request);
      auto blocks = static_cast<uint32_t>((request.tokens.size() + 3) / 4);
      auto slots = std::vector<uint32_t>(blocks);
      std::iota(slots.begin(), slots.end(), 0);
      tell(request.from.index, granted{the_decode, request.id, {99, 0, 1 << 20}, std::move(slots), 55});
    }
  }

  template <class Message>
  std::vector<std::pair<address, Message>> take_outside() {
    deliver();
    auto found = std::vector<std::pair<address, Message>>{};
    auto others = decltype(outside){};
    for (auto& [to, message] : outside)
      if (auto* match = std::get_if<Message>(&message))
        found.emplace_back(to, std::move(*match));
      else
        others.emplace_back(to, std::move(message));
    outside = std::move(others);
    return found;
  }

  void tick_after(uint64_t span_ns) {
    now += span_ns;
    for (auto place = 0u; place < cores.size(); ++place)
      if (!dead.contains(place))
        cores[place].tick(now);
    deliver();
  }

  /// It is gone, and everybody hears of it.
  void kill(uint32_t place) {
    dead.insert(place);
    cores[place].local.clear();
    cores[place].out.take();
    for (auto other = 0u; other < cores.size(); ++other)
      if (!dead.contains(other))
        tell(other, peer_down{who(place)});
  }

  /// Whether a living core holds nothing: no attempt, no slot.
  bool empty(uint32_t place) const {
    const auto& core = cores[place];
    return core.attempts() == 0 && core.pool().count(slot_state::free) == core.pool().capacity() && core.pool().check();
  }
  bool all_empty() const {
    for (auto place = 0u; place < cores.size(); ++place)
      if (!dead.contains(place) && !empty(place))
        return false;
    return true;
  }

  uint64_t now = 1000 * ms;
  std::deque<prefill_core> cores;
  std::set<uint32_t> deaf;
  std::set<uint32_t> dead;
  uint32_t stored = 0;           ///< blocks of any prompt that the shards have
  uint32_t poorest = UINT32_MAX; ///< gets one less of them
  std::vector<std::pair<address, decltype(std::declval<prefill_core&>().out.take())::value_type::second_type>> outside;
  std::vector<reserve> reserves;
  std::vector<fetch> fetches;
  std::vector<std::pair<uint32_t, publish>> publishes;
  std::vector<std::pair<uint32_t, kernels::prefill_work>> works;
  std::vector<std::pair<uint32_t, address>> fences;
  std::map<uint64_t, uint32_t> written; ///< layers of decode's blocks by offset: how often
  uint32_t arrived_at_decode = 0;
};

} // namespace perigee::testing
