// SPDX-License-Identifier: Apache-2.0
#include "actors/cache/block_pool.hpp"
#include "tests/support/testing.hpp"

#include <deque>
#include <numeric>
#include <random>

using namespace perigee;

TEST_CASE("block_pool: a new pool is all free and hands out its slots in order") {
  auto pool = block_pool{4};
  CHECK_EQ(pool.capacity(), 4);
  CHECK_EQ(pool.count(slot_state::free), 4);
  CHECK(pool.take(3, slot_state::reserved) == std::vector<uint32_t>{0, 1, 2});
  CHECK_EQ(pool.count(slot_state::reserved), 3);
  CHECK(pool.check());
}

TEST_CASE("block_pool: taking is all or nothing") {
  auto pool = block_pool{2};
  CHECK_FALSE(pool.take(3, slot_state::transfer).has_value());
  CHECK_EQ(pool.count(slot_state::free), 2);
  CHECK(pool.take(0, slot_state::transfer)->empty());
  CHECK_FALSE(block_pool{0}.take(1, slot_state::live).has_value());
  CHECK(block_pool{0}.check());
}

TEST_CASE("block_pool: a freed block is reused last") {
  auto pool = block_pool{3};
  auto first = pool.take(1, slot_state::reserved)->front();
  pool.free(first);
  CHECK(pool.take(3, slot_state::reserved) == std::vector<uint32_t>{1, 2, first});
}

TEST_CASE("block_pool: the last dropped reference frees a slot and ends its generation") {
  auto pool = block_pool{1};
  auto slot = pool.take(1, slot_state::reserved)->front();
  pool.to_transfer(slot);
  pool.to_live(slot);
  pool.add_ref(slot);
  CHECK_EQ(pool.refs(slot), 2);
  CHECK_FALSE(pool.drop_ref(slot));
  CHECK_EQ(pool.generation(slot), 0);
  CHECK(pool.drop_ref(slot));
  CHECK(pool.state(slot) == slot_state::free);
  CHECK_EQ(pool.generation(slot), 1);
  CHECK(pool.check());
}

TEST_CASE("block_pool: agrees with a naive model under random use") {
  struct model_slot {
    slot_state state = slot_state::free;
    uint32_t refs = 0;
    uint32_t generation = 0;
  };
  for (uint64_t seed = 1; seed <= testing::seeds(50); ++seed) {
    CAPTURE(seed);
    auto rng = std::mt19937_64{seed};
    auto capacity = static_cast<uint32_t>(1 + rng() % 20);
    auto pool = block_pool{capacity};
    auto model = std::vector<model_slot>(capacity);
    auto queue = std::deque<uint32_t>(capacity);
    std::iota(queue.begin(), queue.end(), 0);
    auto release = [&](uint32_t slot) {
      model[slot] = {slot_state::free, 0, model[slot].generation + 1};
      queue.push_back(slot);
    };
    for (int step = 0; step < 400; ++step) {
      auto slot = static_cast<uint32_t>(rng() % capacity);
      auto& it = model[slot];
      switch (rng() % 6) {
      case 0: {
        auto n = static_cast<uint32_t>(rng() % 4);
        auto state = static_cast<slot_state>(1 + rng() % 3);
        auto got = pool.take(n, state);
        REQUIRE_EQ(got.has_value(), n <= queue.size());
        if (got)
          for (auto taken : *got) {
            REQUIRE_EQ(taken, queue.front());
            queue.pop_front();
            model[taken].state = state;
            model[taken].refs = state == slot_state::live ? 1 : 0;
          }
        break;
      }
      case 1:
        if (it.state == slot_state::reserved) {
          pool.to_transfer(slot);
          it.state = slot_state::transfer;
        }
        break;
      case 2:
        if (it.state == slot_state::reserved || it.state == slot_state::transfer) {
          pool.to_live(slot);
          it.state = slot_state::live;
          it.refs = 1;
        }
        break;
      case 3:
        if (it.state == slot_state::live) {
          pool.add_ref(slot);
          ++it.refs;
        }
        break;
      case 4:
        if (it.state == slot_state::live) {
          REQUIRE_EQ(pool.drop_ref(slot), it.refs == 1);
          if (--it.refs == 0)
            release(slot);
        }
        break;
      case 5:
        if (it.state == slot_state::reserved || it.state == slot_state::transfer) {
          pool.free(slot);
          release(slot);
        }
        break;
      }
      REQUIRE(pool.check());
      auto sum = uint32_t{0};
      for (size_t state = 0; state < slot_states; ++state)
        sum += pool.count(static_cast<slot_state>(state));
      REQUIRE_EQ(sum, capacity);
      for (uint32_t i = 0; i < capacity; ++i) {
        REQUIRE(pool.state(i) == model[i].state);
        REQUIRE_EQ(pool.refs(i), model[i].refs);
        REQUIRE_EQ(pool.generation(i), model[i].generation);
      }
    }
  }
}
