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
  index.lookup(keys(count), found);
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

TEST_CASE("prefix_index: it agrees with a plain model under random stores, evictions and losses of shards") {
  for (uint64_t seed = 1; seed <= testing::seeds(50); ++seed) {
    CAPTURE(seed);
    auto random = std::mt19937_64{seed};
    auto index = prefix_index{};
    auto model = std::map<uint64_t, std::set<uint32_t>>{};
    for (auto step = 0; step < 3000; ++step) {
      auto block = random() % 40;
      auto shard = static_cast<uint32_t>(random() % 20);
      switch (random() % 200) {
      case 0:
        index.drop_shard(shard);
        for (auto& [at, shards] : model)
          shards.erase(shard);
        break;
      default:
        if (random() % 2) {
          index.store(key(block), shard);
          model[block].insert(shard);
        } else {
          index.evict(key(block), shard);
          model[block].erase(shard);
        }
      }
      CHECK_EQ(index.holds(key(block), shard), model[block].contains(shard));
      CHECK_EQ(numbers(index.find(key(block))), std::vector<uint32_t>(model[block].begin(), model[block].end()));
    }
    auto counts = std::map<uint32_t, uint64_t>{};
    auto blocks = size_t{0};
    for (const auto& [block, shards] : model) {
      blocks += !shards.empty();
      for (auto shard : shards)
        ++counts[shard];
    }
    CHECK_EQ(index.blocks(), blocks);
    for (auto shard = 0u; shard < 20; ++shard)
      CHECK_EQ(index.blocks_of(shard), counts[shard]);
  }
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
