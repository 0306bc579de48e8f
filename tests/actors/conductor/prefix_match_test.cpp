// SPDX-License-Identifier: Apache-2.0
#include "actors/conductor/prefix_match.hpp"
#include "tests/support/testing.hpp"

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

} // namespace

TEST_CASE("locality: an instance's shard is the one of its number on its node, otherwise the first there") {
  auto where = locality{};
  where.rebuild({{0, 10}, {1, 10}, {2, 11}, {5, 12}}, {{1, 10}, {2, 10}, {5, 99}, {7, 12}});
  CHECK_EQ(where.shard_of(0), 1);
  CHECK_EQ(where.shard_of(1), 1);
  CHECK_FALSE(where.shard_of(2));
  CHECK_EQ(where.shard_of(5), 7);
  CHECK_FALSE(where.shard_of(4));
  auto at = where.instances_at(1);
  CHECK_EQ(std::vector<uint32_t>(at.begin(), at.end()), std::vector<uint32_t>{0, 1});
  CHECK(where.instances_at(2).empty());
}

TEST_CASE("prefix_match: what is being computed counts where it is computed, and nowhere else") {
  auto where = locality{};
  where.rebuild({{0, 0}, {1, 1}, {2, 2}}, {{0, 0}, {1, 1}, {9, 9}});
  auto blocks = prefix_index{};
  for (auto block : {0, 1})
    blocks.store(key(block), 0);
  for (auto block : {0, 1, 2})
    blocks.store(key(block), 9);
  auto all = keys(6);
  blocks.expect(std::span{all}.subspan(2, 3), 0);
  blocks.expect(std::span{all}.first(1), 2);
  blocks.expect(std::span{all}.subspan(3, 1), 1); // Without what comes before it is of no use.
  auto match = prefix_match{};
  match.find(all, blocks, where);
  CHECK_EQ(match.own(0), 5);
  CHECK_EQ(match.own(1), 0);
  CHECK_EQ(match.own(2), 1);
  CHECK_EQ(match.best(), 3);
  REQUIRE_EQ(match.holders().size(), 1);
  CHECK_EQ(match.holders()[0], 9);
  match.find({}, blocks, where);
  CHECK_EQ(match.own(0), 0);
  CHECK_EQ(match.best(), 0);
  CHECK(match.holders().empty());
}

TEST_CASE("prefix_match: it finds what counting block by block finds") {
  auto where = locality{};
  where.rebuild({{0, 0}, {1, 1}, {2, 2}, {3, 3}}, {{0, 0}, {1, 1}, {2, 2}, {3, 3}, {9, 9}});
  for (uint64_t seed = 1; seed <= testing::seeds(300); ++seed) {
    CAPTURE(seed);
    auto random = std::mt19937_64{seed};
    auto all = keys(1 + random() % 12);
    auto blocks = prefix_index{};
    auto stored = std::set<std::pair<uint32_t, size_t>>{}; // shard, block
    auto expected = std::set<std::pair<uint32_t, size_t>>{};
    for (auto run = random() % 12; run > 0; --run) {
      auto who = random() % 5 == 0 ? 9u : static_cast<uint32_t>(random() % 4);
      auto first = random() % 2 ? 0 : random() % all.size();
      auto some = std::span{all}.subspan(first, random() % (all.size() - first + 1));
      auto expects = who != 9 && random() % 2;
      if (expects)
        blocks.expect(some, who);
      for (auto i = first; i < first + some.size(); ++i) {
        (expects ? expected : stored).emplace(who, i);
        if (!expects)
          blocks.store(all[i], who);
      }
    }
    auto has_any = [&](size_t block) {
      auto at = [&](uint32_t shard) { return stored.contains({shard, block}); };
      return at(0) || at(1) || at(2) || at(3) || at(9);
    };
    auto best = size_t{0};
    while (best < all.size() && has_any(best))
      ++best;
    auto match = prefix_match{};
    match.find(all, blocks, where);
    CHECK_EQ(match.best(), best);
    for (auto prefill = 0u; prefill < 4; ++prefill) {
      auto own = size_t{0};
      while (own < all.size() && ((own < best && stored.contains({prefill, own})) || expected.contains({prefill, own})))
        ++own;
      CHECK_EQ(match.own(prefill), own);
    }
  }
}
