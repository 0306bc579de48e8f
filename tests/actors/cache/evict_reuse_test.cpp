// SPDX-License-Identifier: Apache-2.0
#include "actors/cache/evict_reuse.hpp"
#include "actors/cache/evictor.hpp"
#include "tests/support/testing.hpp"

#include <array>
#include <map>
#include <random>

using namespace perigee;

namespace {

block_key key(uint64_t n) {
  return {n, n};
}

/// A shard of single blocks over one evictor: what is asked for is read, or stored in the place of another one.
class small_cache {
public:
  small_cache(eviction rule, uint32_t slots) : evictor_(rule, slots), slots_(slots) {}

  bool ask(uint64_t name) {
    auto at = held_.find(name);
    auto hit = at != held_.end();
    auto slot = hit ? at->second : take();
    if (hit) {
      evictor_.hold(slot);
      evictor_.read(slot);
    } else {
      held_[name] = slot;
      names_[slot] = name;
      evictor_.store(slot, key(name), std::nullopt);
    }
    evictor_.let_go(slot);
    return hit;
  }

private:
  uint32_t take() {
    if (held_.size() < slots_)
      return static_cast<uint32_t>(held_.size());
    auto slot = evictor_.victim().value();
    evictor_.evict(slot);
    held_.erase(names_.at(slot));
    return slot;
  }

  evictor evictor_;
  uint32_t slots_;
  std::map<uint64_t, uint32_t> held_;
  std::map<uint32_t, uint64_t> names_;
};

/// 40 names are asked for in turn, and between them names that never come again: LRU of 100 finds nothing, since 240
/// others come between two uses.
uint64_t hits_under_scan(eviction rule) {
  auto cache = small_cache{rule, 100};
  auto hits = uint64_t{0};
  auto once = uint64_t{1000};
  for (int round = 0; round < 60; ++round)
    for (uint64_t name = 0; name < 40; ++name) {
      hits += cache.ask(name);
      for (int i = 0; i < 5; ++i)
        cache.ask(++once);
    }
  return hits;
}

/// The rule's definition, written down once more without bins that are moved, orders that are kept or ghosts that are
/// forgotten: it looks at every block each time.
struct naive_reuse {
  struct block {
    uint64_t last_use = 0;
    uint32_t reads = 0;
  };

  static size_t bin_of(uint64_t age) {
    size_t bin = 0;
    for (uint64_t end = 16; age >= end; end *= 2)
      ++bin;
    return bin;
  }

  std::optional<uint32_t> victim(const evict_reuse& learned, uint64_t now) const {
    auto best = std::optional<uint32_t>{};
    auto rank = [&](uint32_t slot) {
      const auto& it = blocks.at(slot);
      // Of equal worth, the oldest of the class and bin.
      return std::tuple{learned.worth(it.reads, now - it.last_use), it.last_use, slot};
    };
    for (const auto& [slot, it] : blocks)
      if (!best || rank(slot) < rank(*best))
        best = slot;
    return best;
  }

  std::map<uint32_t, block> blocks;
};

} // namespace

TEST_CASE("evict_reuse: before anything is known the oldest goes") {
  auto rule = evict_reuse{1000};
  for (uint64_t age : {1, 20, 100, 5000})
    for (uint32_t reads : {0u, 1u, 7u}) {
      CHECK(rule.worth(reads, age) == rule.worth(0, age));
      CHECK(rule.worth(reads, 4 * age + 16) < rule.worth(reads, age));
    }
}

TEST_CASE("evict_reuse: the victim is the block of least worth, whatever happened before") {
  constexpr uint32_t slots = 32;
  for (uint64_t seed = 0; seed < testing::seeds(10); ++seed) {
    CAPTURE(seed);
    auto rng = std::mt19937_64{seed};
    auto rule = evict_reuse{slots};
    auto model = naive_reuse{};
    auto known = std::array<cached_block, slots>{};
    auto now = uint64_t{0};
    for (int step = 0; step < 3000; ++step) {
      now += rng() % 4;
      auto slot = static_cast<uint32_t>(rng() % slots);
      auto& block = known[slot];
      if (model.blocks.contains(slot)) {
        rule.remove(slot, block);
        ++block.reads;
        rule.read(block, now);
      } else {
        block = {key(rng() % 200), now, 0, 0};
        rule.stored(block, now);
      }
      block.last_use = ++now;
      rule.add(slot, block, now);
      model.blocks[slot] = {block.last_use, block.reads};
      REQUIRE(rule.contains(slot, block));
      auto victim = rule.victim(now);
      REQUIRE(victim == model.victim(rule, now));
      if (rng() % 2 == 0) {
        rule.remove(*victim, known[*victim]);
        rule.evicted(known[*victim]);
        model.blocks.erase(*victim);
        REQUIRE(rule.ghosts() <= size_t{slots} * evict_reuse::ghosts_per_slot);
      }
    }
  }
}

TEST_CASE("evict_reuse: what is read again is kept while others pass by that never are") {
  CHECK_EQ(hits_under_scan(eviction::lru), 0);
  // All but the first rounds, in which it learns.
  CHECK(hits_under_scan(eviction::reuse) > 40 * 50);
}

TEST_CASE("evict_reuse: a block that comes back has the reads that it had when it was given up") {
  auto rule = evict_reuse{4};
  auto block = cached_block{key(1), 10, 2, 0};
  rule.evicted(block);
  auto again = cached_block{key(1), 0, 0, 0};
  rule.stored(again, 50);
  CHECK_EQ(again.reads, 3);
  CHECK_EQ(rule.ghosts(), 0);
  auto other = cached_block{key(2), 0, 0, 0};
  rule.stored(other, 50);
  CHECK_EQ(other.reads, 0);
}
