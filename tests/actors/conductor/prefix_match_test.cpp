// SPDX-License-Identifier: Apache-2.0
#include "actors/conductor/prefix_match.hpp"
#include "tests/support/testing.hpp"

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
  auto stored = prefix_index{};
  auto pending = prefix_index{};
  for (auto block : {0, 1})
    stored.store(key(block), 0);
  for (auto block : {0, 1, 2})
    stored.store(key(block), 9);
  for (auto block : {2, 3, 4})
    pending.store(key(block), 0);
  pending.store(key(0), 2);
  pending.store(key(3), 1); // Without what comes before it is of no use.
  auto match = prefix_match{};
  match.find(keys(6), stored, pending, where);
  CHECK_EQ(match.own(0), 5);
  CHECK_EQ(match.own(1), 0);
  CHECK_EQ(match.own(2), 1);
  CHECK_EQ(match.best(), 3);
  REQUIRE_EQ(match.holders().size(), 1);
  CHECK_EQ(match.holders()[0], 9);
  match.find(keys(0), stored, pending, where);
  CHECK_EQ(match.own(0), 0);
  CHECK_EQ(match.best(), 0);
  CHECK(match.holders().empty());
}
