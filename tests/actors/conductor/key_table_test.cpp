// SPDX-License-Identifier: Apache-2.0
#include "actors/conductor/free_numbers.hpp"
#include "actors/conductor/key_table.hpp"
#include "tests/support/testing.hpp"
#include "transport/base/spread_key.hpp"

#include <map>
#include <random>
#include <set>

using namespace perigee;

TEST_CASE("key_table: it finds what was inserted and not erased, while its pages split") {
  for (auto crowded : {false, true}) {
    CAPTURE(crowded);
    auto table = key_table{};
    auto there = std::set<uint32_t>{};
    auto random = std::mt19937_64{7};
    auto wrong = 0;
    // Crowded: many begin in the same few lines of a page, so that lines run over.
    auto hash_of = [&](uint32_t number) {
      auto hash = spread_key(number, 5);
      return crowded ? hash & ~(uint64_t{0x3c} << 32) : hash;
    };
    auto check = [&](uint32_t number) {
      auto found = table.find(hash_of(number), [&](uint32_t same) { return same == number; });
      wrong += found != (there.contains(number) ? number : 0);
    };
    for (auto step = 0; step < 60'000; ++step) {
      auto number = static_cast<uint32_t>(1 + random() % 20'000);
      if (there.contains(number) && random() % 3 != 0) {
        table.erase(hash_of(number), number);
        there.erase(number);
      } else if (!there.contains(number) && random() % 2) {
        table.insert(hash_of(number), number);
        there.insert(number);
      } else {
        auto got = table.find_or_insert(
          hash_of(number), [&](uint32_t same) { return same == number; }, [&] { return number; });
        there.insert(number);
        wrong += got != number;
      }
      check(static_cast<uint32_t>(1 + random() % 20'000));
    }
    for (auto number = 1u; number <= 20'000; ++number)
      check(number);
    CHECK_EQ(wrong, 0);
    CHECK(table.bytes() < 20'000 * 24);
  }
}

TEST_CASE("key_table: of entries that look the same the caller chooses") {
  auto table = key_table{};
  for (auto number : {1u, 2u, 3u})
    table.insert(uint64_t{9} << 32, number);
  auto find = [&](uint32_t number) {
    return table.find(uint64_t{9} << 32, [&](uint32_t found) { return found == number; });
  };
  CHECK_EQ(find(2), 2);
  table.erase(uint64_t{9} << 32, 1);
  CHECK_EQ(find(1), 0);
  CHECK_EQ(find(2), 2);
  CHECK_EQ(find(3), 3);
}

TEST_CASE("free_numbers: none is given out twice, and runs take the place of runs") {
  auto numbers = free_numbers{};
  auto taken = std::set<uint32_t>{};
  auto take = [&] {
    auto number = numbers.take();
    CHECK(taken.insert(number).second);
    return number;
  };
  for (auto i = 1u; i <= 1000; ++i)
    CHECK_EQ(take(), i);
  auto give_back = [&](uint32_t number) {
    taken.erase(number);
    numbers.give_back(number);
    CHECK(numbers.is_free(number));
  };
  for (auto i = 219u; i >= 100; --i)
    give_back(i);
  CHECK_EQ(take(), 1001); // Fewer than an eighth are free.
  for (auto i = 300u; i < 310; ++i)
    give_back(i);
  for (auto i = 100u; i < 220; ++i)
    CHECK_EQ(take(), i);
  CHECK_EQ(take(), 300);
  CHECK_FALSE(numbers.is_free(300));
  CHECK(numbers.is_free(301));
}

TEST_CASE("free_numbers: they stay dense while any come and go") {
  auto numbers = free_numbers{};
  auto random = std::mt19937_64{3};
  auto taken = std::vector<uint32_t>{};
  auto unique = std::set<uint32_t>{};
  auto wrong = 0;
  for (auto step = 0; step < 100'000; ++step) {
    if (taken.size() < 3000) {
      taken.push_back(numbers.take());
      wrong += !unique.insert(taken.back()).second || taken.back() == 0 || taken.back() >= numbers.end();
    } else {
      std::swap(taken[random() % taken.size()], taken.back());
      numbers.give_back(taken.back());
      unique.erase(taken.back());
      taken.pop_back();
    }
  }
  CHECK_EQ(wrong, 0);
  CHECK(numbers.end() < 3000 * 9 / 8 + 64);
}
