// SPDX-License-Identifier: Apache-2.0
#include "actors/cache/block_index.hpp"
#include "tests/support/testing.hpp"

#include <list>
#include <map>
#include <random>
#include <vector>

using namespace perigee;

namespace {

block_key key(uint64_t n) {
  return {n, n};
}

void put(block_index& index, uint64_t n) {
  auto slot = index.take().value();
  index.store(key(n), slot);
  index.unpin(slot);
}

} // namespace

TEST_CASE("block_index: what was used least recently is evicted when room is needed, and both are told") {
  auto index = block_index{2};
  put(index, 1);
  put(index, 2);
  auto slot = index.find(key(1)).value();
  index.pin(slot);
  index.unpin(slot);
  index.take_changes();
  put(index, 3);
  CHECK_FALSE(index.find(key(2)).has_value());
  CHECK(index.find(key(1)).has_value());
  auto changes = index.take_changes();
  REQUIRE_EQ(changes.size(), 2);
  CHECK((changes[0].key == key(2) && !changes[0].stored));
  CHECK((changes[1].key == key(3) && changes[1].stored));
  CHECK(index.check());
}

TEST_CASE("block_index: a pinned block is never evicted") {
  auto index = block_index{1};
  put(index, 1);
  auto slot = index.find(key(1)).value();
  index.pin(slot);
  index.pin(slot);
  CHECK_FALSE(index.take().has_value());
  index.unpin(slot);
  CHECK_FALSE(index.take().has_value());
  index.unpin(slot);
  CHECK(index.take() == slot);
  CHECK(index.check());
}

TEST_CASE("block_index: a block stays while one that comes after it is visible, also if that was read alone") {
  auto index = block_index{3};
  put(index, 1);
  auto second = index.take().value();
  index.store(key(2), second, key(1));
  index.unpin(second);
  put(index, 3);
  // 1 was used least recently, but 2 is of no use without it.
  index.pin(second);
  index.count_read(second);
  CHECK(index.take().has_value());
  CHECK_FALSE(index.find(key(3)).has_value());
  CHECK_FALSE(index.take().has_value());
  index.unpin(second);
  CHECK(index.take() == second);
  CHECK(index.find(key(1)).has_value());
  CHECK(index.check());
}

TEST_CASE("block_index: a slot that was taken and given back is free again") {
  auto index = block_index{1};
  auto slot = index.take().value();
  CHECK_FALSE(index.take().has_value());
  index.give_back(slot);
  CHECK_EQ(index.pool().count(slot_state::free), 1);
  CHECK_EQ(index.pool().generation(slot), 1);
}

TEST_CASE("block_index: the keys can be walked in order while they change") {
  auto index = block_index{8};
  for (uint64_t n : {5, 1, 3})
    put(index, n);
  auto at = index.next(std::nullopt);
  CHECK(at == key(1));
  put(index, 2);
  at = index.next(at);
  CHECK(at == key(2));
  CHECK(index.next(key(5)) == std::nullopt);
}

TEST_CASE("slot_table: agrees with a map under random use, with keys that are spread and keys that are not") {
  for (auto is_spread : {true, false}) {
    auto rng = std::mt19937_64{7};
    auto table = slot_table{24};
    auto model = std::map<block_key, uint32_t>{};
    auto free = std::vector<uint32_t>{};
    for (uint32_t slot = 0; slot < 24; ++slot)
      free.push_back(slot);
    auto some_key = [&] {
      // Those that are not spread all name the last place, and stand behind it.
      auto high = is_spread ? rng() % 24 * 0x9e3779b97f4a7c15u : UINT64_MAX - rng() % 24;
      return block_key{high, rng() % 2};
    };
    for (int step = 0; step < 20000; ++step) {
      auto key = some_key();
      auto at = model.find(key);
      REQUIRE_EQ(table.find(key).has_value(), at != model.end());
      if (at != model.end()) {
        REQUIRE_EQ(*table.find(key), at->second);
        REQUIRE(table.key_of(at->second) == key);
        table.erase(at->second);
        free.push_back(at->second);
        model.erase(at);
      } else if (!free.empty()) {
        table.insert(key, free.back());
        model.emplace(key, free.back());
        free.pop_back();
      }
      REQUIRE_EQ(table.size(), model.size());
      auto probe = some_key();
      auto next = model.upper_bound(probe);
      REQUIRE(table.next(probe) == (next == model.end() ? std::nullopt : std::optional{next->first}));
      REQUIRE(table.next(std::nullopt) == (model.empty() ? std::nullopt : std::optional{model.begin()->first}));
    }
  }
}
