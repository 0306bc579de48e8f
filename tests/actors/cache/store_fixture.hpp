// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/cache/rendezvous.hpp"
#include "actors/cache/store_core.hpp"
#include "tests/support/testing.hpp"

#include <cstdint>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

/// A store client's core, and shards that exist only as answers.
namespace perigee::testing::store {

inline constexpr auto self = address{role::store_client, 0, 1, 5};
inline constexpr uint64_t transfer_ns = 1000;
inline constexpr uint64_t retry_ns = 100;
inline constexpr store_owner owner = 3;
inline constexpr auto region = transport::remote_region{9, 0, 1 << 20};

inline address shard(uint32_t index, uint64_t incarnation = 1) {
  return {role::shard, index, index, incarnation};
}

inline std::vector<block_key> keys(uint64_t first, uint64_t last) {
  auto out = std::vector<block_key>{};
  for (auto n = first; n <= last; ++n)
    out.push_back({n, n});
  return out;
}

struct fixture {
  explicit fixture(uint32_t shards = 1, std::optional<uint32_t> local = std::nullopt, uint32_t jobs_max = 4,
                   std::optional<lent_pool> lent = {})
    : core({self, 2, 64, local, retry_ns, transfer_ns, jobs_max, 2, 16, lent}) {
    for (uint32_t index = 0; index < shards; ++index)
      core.peer_up(shard(index), now);
  }

  /// All messages of one kind since the last call; other kinds are dropped.
  template <class Message>
  std::vector<Message> all() {
    auto out = std::vector<Message>{};
    for (auto& it : core.take_output())
      std::visit([&](auto& what) { collect(what, out); }, it.what);
    REQUIRE(core.check());
    return out;
  }

  template <class Output, class Message>
  static void collect(const Output& what, std::vector<Message>& out) {
    if constexpr (std::is_same_v<Output, Message>)
      out.push_back(what);
    else if constexpr (requires { what.message; })
      std::visit([&](const auto& message) { collect(message, out); }, what.message);
  }

  template <class Message>
  Message one() {
    auto out = all<Message>();
    REQUIRE_EQ(out.size(), 1);
    return out.front();
  }

  fetch job(uint64_t id, uint32_t blocks, std::vector<prefix_segment> plan) {
    auto slots = std::vector<uint32_t>{};
    for (uint32_t slot = 0; slot < blocks; ++slot)
      slots.push_back(10 + slot);
    return {id, keys(1, blocks), slots, std::move(plan), 500};
  }

  /// The same, of which the first `lend` may be lent.
  fetch lending_job(uint64_t id, uint32_t blocks, uint32_t lend, std::vector<prefix_segment> plan) {
    auto made = job(id, blocks, std::move(plan));
    made.lend = lend;
    return made;
  }

  /// Up to the point where the blocks are being read.
  move_blocks read_from(uint32_t at, std::vector<uint32_t> slots) {
    auto asked = one<lease>();
    core.on_leased({shard(at), asked.op, region, std::move(slots)}, now);
    return one<move_blocks>();
  }

  /// Up to the point where the blocks are being written.
  move_blocks write_to(uint32_t at, std::vector<uint32_t> slots) {
    auto asked = one<allocate>();
    core.on_allocated({shard(at), asked.op, region, std::move(slots), 77}, now);
    return one<move_blocks>();
  }

  uint64_t now = 10'000;
  store_core core;
};

} // namespace perigee::testing::store
