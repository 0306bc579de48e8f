// SPDX-License-Identifier: Apache-2.0
#include "actors/conductor/prefix_index.hpp"
#include "tests/support/testing.hpp"

#include <algorithm>
#include <map>
#include <random>
#include <set>

using namespace perigee;

namespace {

block_key key(uint64_t number) {
  return {number, number * 77};
}

std::vector<block_key> keys(uint64_t count) {
  auto all = std::vector<block_key>{};
  for (auto i = uint64_t{0}; i < count; ++i)
    all.push_back(key(i));
  return all;
}

std::vector<std::span<const uint32_t>> lookup(const prefix_index& index, uint64_t count) {
  auto found = std::vector<std::span<const uint32_t>>{};
  index.each(keys(count), [&](const prefix_index::known& at) {
    if (!at.stored.empty())
      found.push_back(at.stored);
    return !at.stored.empty();
  });
  return found;
}

std::vector<uint32_t> numbers(std::span<const uint32_t> shards) {
  return {shards.begin(), shards.end()};
}

} // namespace

TEST_CASE("prefix_index: a lookup ends at the first block that no shard holds") {
  auto index = prefix_index{};
  index.store(key(0), 3);
  index.store(key(1), 1);
  index.store(key(1), 3);
  index.store(key(3), 3);
  auto found = lookup(index, 4);
  REQUIRE_EQ(found.size(), 2);
  CHECK_EQ(numbers(found[1]), std::vector<uint32_t>{1, 3});
}

TEST_CASE("prefix_index: a plan stays with one shard as long as it can, and prefers the local one") {
  auto index = prefix_index{};
  for (auto [block, shard] : {std::pair{0, 1}, {1, 1}, {1, 2}, {2, 2}, {2, 5}, {3, 5}})
    index.store(key(static_cast<uint64_t>(block)), static_cast<uint32_t>(shard));
  auto found = lookup(index, 4);
  using plan = std::vector<std::pair<uint32_t, uint32_t>>;
  CHECK_EQ(plan_prefix(found, 4, UINT32_MAX, UINT32_MAX), plan{{1, 2}, {2, 1}, {5, 1}});
  CHECK_EQ(plan_prefix(found, 4, 5, UINT32_MAX), plan{{1, 2}, {5, 2}});
  CHECK_EQ(plan_prefix(found, 1, 2, UINT32_MAX), plan{{1, 1}});
  index.store(key(0), 9);
  index.store(key(1), 9);
  CHECK_EQ(plan_prefix(lookup(index, 2), 2, UINT32_MAX, 9), plan{{9, 2}}); // The source that has least to send.
}

namespace {

/// What an index of `chains` prefixes of 16 blocks must know, where blocks come alone and in runs, from several shards
/// and instances.
struct plain_model {
  static constexpr uint64_t chain = 16;

  std::vector<block_key> some(std::mt19937_64& random, uint64_t chains) {
    auto first = random() % (chains * chain);
    auto all = std::vector<block_key>{};
    for (auto i = first; i < (first / chain + 1) * chain && all.size() <= random() % chain; ++i)
      all.push_back(key(i));
    return all;
  }

  std::map<block_key, std::set<uint32_t>> stored;
  std::map<block_key, std::set<uint32_t>> expected;
};

} // namespace

TEST_CASE("prefix_index: it agrees with a plain model under random stores, evictions and losses of shards") {
  for (uint64_t seed = 1; seed <= testing::seeds(50); ++seed) {
    CAPTURE(seed);
    auto random = std::mt19937_64{seed};
    auto chains =
      seed % 2 ? uint64_t{3} : uint64_t{300}; // Few, so that many have each; or many, so that blocks come and go.
    auto index = prefix_index{};
    auto model = plain_model{};
    auto wrong = 0;
    for (auto step = 0; step < 3000; ++step) {
      auto some = model.some(random, chains);
      auto who = static_cast<uint32_t>(random() % 20);
      auto events = std::vector<index_event>{};
      switch (random() % 60 == 0 ? 0 : 1 + random() % 6) {
      case 0:
        index.drop_shard(who);
        for (auto& [at, shards] : model.stored)
          shards.erase(who);
        break;
      case 1:
        index.expect(some, who);
        for (const auto& at : some)
          model.expected[at].insert(who);
        break;
      case 2:
        index.forget(some, who);
        for (const auto& at : some)
          model.expected[at].erase(who);
        break;
      case 3:
        index.store(some[0], who);
        model.stored[some[0]].insert(who);
        break;
      case 4:
        index.evict(some[0], who);
        model.stored[some[0]].erase(who);
        break;
      default:
        for (const auto& at : some) {
          events.push_back({at, random() % 2 == 0});
          if (events.back().stored)
            model.stored[at].insert(who);
          else
            model.stored[at].erase(who);
        }
        index.apply(events, who);
      }
      wrong += index.holds(some[0], who) != model.stored[some[0]].contains(who);
      auto asked = model.some(random, chains);
      auto seen = size_t{0};
      index.each(asked, [&](const prefix_index::known& at) {
        const auto& block = asked[seen++];
        wrong += !std::ranges::equal(at.stored, model.stored[block]);
        wrong += !std::ranges::equal(at.expected, model.expected[block]);
        return true;
      });
      if (seen < asked.size()) // It is unknown.
        wrong += !model.stored[asked[seen]].empty() || !model.expected[asked[seen]].empty();
    }
    CHECK_EQ(wrong, 0);
    auto counts = std::map<uint32_t, uint64_t>{};
    auto blocks = size_t{0};
    for (const auto& [block, shards] : model.stored) {
      blocks += !shards.empty();
      for (auto shard : shards)
        ++counts[shard];
      CHECK_EQ(numbers(index.find(block)), std::vector<uint32_t>(shards.begin(), shards.end()));
    }
    CHECK_EQ(index.blocks(), blocks);
    for (auto shard = 0u; shard < 20; ++shard)
      CHECK_EQ(index.blocks_of(shard), counts[shard]);
  }
}

TEST_CASE("prefix_index: what is expected there and then stored takes no more memory than what is stored at once") {
  auto index = prefix_index{};
  auto all = keys(30'000);
  for (auto some = std::span<const block_key>{all}; !some.empty(); some = some.subspan(30)) {
    index.expect(some.first(30), 1);
    index.forget(some.first(30), 1);
    for (const auto& at : some.first(30))
      index.store(at, 7);
  }
  auto plain = prefix_index{};
  for (const auto& at : all)
    plain.store(at, 7);
  CHECK_EQ(index.blocks(), 30'000);
  CHECK(index.bytes() <= plain.bytes() + 8192);
}

TEST_CASE("prefix_index: blocks that come as others go take their place") {
  auto index = prefix_index{};
  for (auto i = uint64_t{0}; i < 40'000; ++i)
    index.store(key(i), 1);
  auto full = index.bytes();
  for (auto i = uint64_t{0}; i < 400'000; ++i) {
    index.store(key(i + 40'000), 1);
    index.evict(key(i), 1);
  }
  CHECK_EQ(index.blocks(), 40'000);
  CHECK(index.bytes() <= full + full / 4);
}

TEST_CASE("prefix_index: thousands of blocks come and go, and none is lost or left") {
  auto index = prefix_index{};
  for (auto i = uint64_t{0}; i < 50'000; ++i)
    index.store(key(i), static_cast<uint32_t>(i % 3));
  for (auto i = uint64_t{0}; i < 50'000; i += 2)
    index.evict(key(i), static_cast<uint32_t>(i % 3));
  CHECK_EQ(index.blocks(), 25'000);
  auto wrong = 0;
  for (auto i = uint64_t{0}; i < 50'000; ++i)
    wrong += index.holds(key(i), static_cast<uint32_t>(i % 3)) != (i % 2 == 1);
  CHECK_EQ(wrong, 0);
  for (auto shard = 0u; shard < 3; ++shard)
    index.drop_shard(shard);
  CHECK_EQ(index.blocks(), 0);
}

TEST_CASE("prefix_index: only changes count as such") {
  auto index = prefix_index{};
  index.store(key(1), 2);
  auto version = index.version();
  index.store(key(1), 2);
  index.evict(key(1), 3);
  index.evict(key(2), 2);
  CHECK_EQ(index.version(), version);
  index.evict(key(1), 2);
  CHECK(index.version() > version);
}

TEST_CASE("prefix_index: a block takes at most 64 bytes, and each further replica at most 8") {
  for (auto blocks : {50'000u, 100'000u, 150'000u}) {
    CAPTURE(blocks);
    auto index = prefix_index{};
    auto empty = index.bytes();
    for (auto i = uint64_t{0}; i < blocks; ++i)
      index.store(key(i), static_cast<uint32_t>(i % 64));
    auto one = index.bytes();
    CHECK(one - empty <= 64 * uint64_t{blocks});
    auto further = std::vector<std::pair<uint64_t, uint32_t>>{}; // 1 to 8 replicas, all numbers equally often
    for (auto i = uint64_t{0}; i < blocks; ++i)
      for (auto more = 1u; more <= i / 64 % 8; ++more)
        further.emplace_back(i, static_cast<uint32_t>((i + more * 7) % 64));
    std::shuffle(further.begin(), further.end(), std::mt19937_64{1});
    for (auto [block, shard] : further)
      index.store(key(block), shard);
    CHECK(index.bytes() - one <= 8 * further.size());
  }
}
