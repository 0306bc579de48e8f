// SPDX-License-Identifier: Apache-2.0
#include "actors/cache/evictor.hpp"
#include "tests/support/testing.hpp"

#include <algorithm>
#include <map>
#include <random>
#include <string>

using namespace perigee;

namespace {

block_key key(uint64_t n) {
  return {n, n};
}

/// Stores a prompt's blocks one after another into these slots, and lets go of them, last one first.
void put(evictor& it, const std::vector<uint32_t>& slots, uint64_t first_key) {
  for (size_t i = 0; i < slots.size(); ++i)
    it.store(slots[i], key(first_key + i), i == 0 ? std::nullopt : std::optional{slots[i - 1]});
  for (auto at = slots.rbegin(); at != slots.rend(); ++at)
    it.let_go(*at);
}

void read(evictor& it, const std::vector<uint32_t>& slots) {
  for (auto slot : slots) {
    it.hold(slot);
    it.read(slot);
  }
  for (auto at = slots.rbegin(); at != slots.rend(); ++at)
    it.let_go(*at);
}

uint32_t give_up(evictor& it) {
  auto slot = it.victim().value();
  it.evict(slot);
  CHECK(it.check());
  return slot;
}

/// The rules as they are written, without any order kept: every block is looked at each time.
struct naive_evictor {
  struct block {
    uint64_t name = 0;
    uint64_t last_use = 0;
    uint32_t reads = 0;
    uint32_t depth = 0;
    bool held = false;
    std::optional<uint32_t> before;
  };

  std::optional<uint32_t> victim(eviction rule) const {
    auto best = std::optional<uint32_t>{};
    auto rank = [&](uint32_t slot) {
      const auto& it = cached.at(slot);
      switch (rule) {
      case eviction::lfu: return std::pair{uint64_t{it.reads}, it.last_use};
      case eviction::length_aware: return std::pair{UINT64_MAX - it.depth, it.last_use};
      default: return std::pair{uint64_t{0}, it.last_use};
      }
    };
    for (const auto& [slot, it] : cached) {
      auto has_successor = std::ranges::any_of(cached, [&](const auto& other) { return other.second.before == slot; });
      if (!it.held && !has_successor && (!best || rank(slot) < rank(*best)))
        best = slot;
    }
    return best;
  }

  std::map<uint32_t, block> cached;
  uint64_t clock = 0;
};

} // namespace

TEST_CASE("eviction: each rule is found by its name") {
  for (auto rule : all_evictions) {
    CHECK(find_eviction(to_string(rule)) == rule);
    CHECK_FALSE(std::string{summary_of(rule)}.empty());
  }
  CHECK_FALSE(find_eviction("mru").has_value());
}

TEST_CASE("evictor: lru gives up what was used least recently, the end of a prompt before its beginning") {
  auto it = evictor{eviction::lru, 8};
  put(it, {0, 1, 2}, 10);
  put(it, {3, 4}, 20);
  read(it, {0, 1});
  CHECK_EQ(give_up(it), 2);
  CHECK_EQ(give_up(it), 4);
  CHECK_EQ(give_up(it), 3);
  CHECK_EQ(give_up(it), 1);
  CHECK_EQ(give_up(it), 0);
  CHECK_FALSE(it.victim().has_value());
}

TEST_CASE("evictor: lfu gives up what was read least often, of equals the least recently used") {
  auto it = evictor{eviction::lfu, 8};
  put(it, {0}, 10);
  put(it, {1}, 20);
  put(it, {2}, 30);
  read(it, {0});
  read(it, {0});
  read(it, {1});
  CHECK_EQ(give_up(it), 2);
  put(it, {3}, 40);
  CHECK_EQ(give_up(it), 3);
  CHECK_EQ(give_up(it), 1);
}

TEST_CASE("evictor: length-aware gives up what is farthest from the beginning, of equals the least recently used") {
  auto it = evictor{eviction::length_aware, 8};
  put(it, {0, 1, 2}, 10);
  put(it, {3, 4}, 20);
  read(it, {0, 1, 2});
  CHECK_EQ(give_up(it), 2);
  CHECK_EQ(give_up(it), 4);
  CHECK_EQ(give_up(it), 1);
  CHECK_EQ(give_up(it), 3);
}

TEST_CASE("evictor: a block whose successor is held or cached stays, also if the end of the prefix alone was used") {
  for (auto rule : all_evictions) {
    CAPTURE(to_string(rule));
    auto it = evictor{rule, 4};
    put(it, {0, 1, 2}, 10);
    put(it, {3}, 20);
    // Somebody reads the end of the prefix; its beginning is the least recently used.
    it.hold(2);
    it.read(2);
    CHECK_EQ(give_up(it), 3);
    CHECK_FALSE(it.victim().has_value());
    it.let_go(2);
    CHECK_EQ(give_up(it), 2);
    CHECK_EQ(give_up(it), 1);
    CHECK_EQ(give_up(it), 0);
  }
}

TEST_CASE("evictor: a block that was copied elsewhere goes first once it has cooled, and not before") {
  for (auto rule : all_evictions) {
    CAPTURE(to_string(rule));
    auto it = evictor{rule, 10, 30}; // cool after 3 uses
    put(it, {0}, 10);
    put(it, {1, 2}, 20);
    for (uint32_t slot : {1u, 2u}) {
      it.hold(slot);
      it.read(slot);
      it.copied(slot);
    }
    it.let_go(2);
    it.let_go(1);
    CHECK_EQ(it.victim(), rule == eviction::length_aware ? 2 : 0);
    put(it, {3}, 30);
    put(it, {4}, 40);
    CHECK_EQ(give_up(it), 2); // 3 uses since its own: of 1, 3 and 4
    put(it, {5}, 50);
    CHECK_EQ(give_up(it), 1); // The block before it was used later.
    CHECK_EQ(it.victim(), 0);
  }
}

TEST_CASE("evictor: without cooling, copies are blocks like any others") {
  auto it = evictor{eviction::lru, 4, 0};
  put(it, {0}, 10);
  put(it, {1}, 20);
  it.hold(1);
  it.copied(1);
  it.let_go(1);
  for (uint32_t slot : {2u, 3u})
    put(it, {slot}, 30 + slot);
  CHECK_EQ(give_up(it), 0);
}

TEST_CASE("evictor: agrees with rules that look at every block, and stays closed under prefixes") {
  constexpr uint32_t slots = 24;
  for (auto rule : {eviction::lru, eviction::lfu, eviction::length_aware})
    for (uint64_t seed = 0; seed < testing::seeds(10); ++seed) {
      CAPTURE(to_string(rule));
      CAPTURE(seed);
      auto rng = std::mt19937_64{seed};
      auto it = evictor{rule, slots};
      auto model = naive_evictor{};
      auto names = uint64_t{0};
      for (int step = 0; step < 1500; ++step) {
        auto slot = static_cast<uint32_t>(rng() % slots);
        auto at = model.cached.find(slot);
        if (at == model.cached.end()) {
          auto before = static_cast<uint32_t>(rng() % slots);
          auto parent = model.cached.find(before);
          auto block = naive_evictor::block{++names, model.clock, 0, 0, true, {}};
          if (parent != model.cached.end() && parent->second.depth < 6) {
            block.before = before;
            block.depth = parent->second.depth + 1;
          }
          it.store(slot, key(block.name), block.before);
          model.cached.emplace(slot, block);
        } else if (at->second.held) {
          if (rng() % 2 == 0) {
            it.read(slot);
            ++at->second.reads;
          }
          it.let_go(slot);
          at->second.held = false;
          at->second.last_use = ++model.clock;
        } else {
          it.hold(slot);
          at->second.held = true;
        }
        auto victim = it.victim();
        REQUIRE(victim == model.victim(rule));
        if (victim && rng() % 3 == 0) {
          it.evict(*victim);
          model.cached.erase(*victim);
        }
        if (step % 50 == 0)
          REQUIRE(it.check());
      }
    }
}
