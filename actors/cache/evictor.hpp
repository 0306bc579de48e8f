// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/cache/evict_ranked.hpp"
#include "actors/cache/evict_reuse.hpp"
#include "actors/cache/eviction.hpp"

#include <cstdint>
#include <optional>
#include <set>
#include <utility>
#include <variant>
#include <vector>

namespace perigee {

/// Says which cached block to give up. Knows for each slot the block in it, the slot of the block before it in its
/// prefix, and whether somebody holds it; what may be given up (nobody holds it, and no cached block comes after it) it
/// offers to the eviction rule. Logarithmic time at most. Pure; calls that break the rules abort.
///
/// Replicas shrink as they cool: a block that another node read, and so has a copy of, goes before all others once it was
/// not used for long (`copies_cool`), the least recently used of them first.
class evictor {
public:
  /// `slots` is how many blocks there is room for; slots are numbered from 0. `copies_cool` in percent of them, 0: never.
  evictor(eviction rule, uint32_t slots, uint32_t copies_cool = copies_cool_default);

  /// A block was stored in the slot; it is held once. `before` is the slot of the block before it, if that is cached.
  void store(uint32_t slot, const block_key& key, std::optional<uint32_t> before);
  /// A held block is read, which counts as a reuse.
  void read(uint32_t slot);
  /// A held block was copied to another node.
  void copied(uint32_t slot);
  /// Nobody held the block, and now somebody does.
  void hold(uint32_t slot);
  /// Nobody holds the block any more; it was used just now.
  void let_go(uint32_t slot);
  /// The slot to give up next, if there is any.
  std::optional<uint32_t> victim();
  /// The block is gone; it was the `victim`, or at least nobody held it and nothing came after it.
  void evict(uint32_t slot);

  bool held(uint32_t slot) const {
    return slots_.at(slot).held;
  }

  /// Recounts everything and compares. For tests and simulations.
  bool check() const;

private:
  static constexpr uint32_t none = UINT32_MAX;

  struct entry {
    cached_block block;
    uint32_t before = none;
    uint32_t after = 0; // cached blocks that come directly after it
    bool cached = false;
    bool held = false;
    bool copied = false;
  };

  bool may_go(const entry& at) const {
    return at.cached && !at.held && at.after == 0;
  }
  void add(uint32_t slot);
  void remove(uint32_t slot);

  using rules = std::variant<evict_lru, evict_lfu, evict_length_aware, evict_reuse>;
  static rules make(eviction rule, uint32_t slots);

  rules rule_;
  const uint64_t cool_; // uses of blocks; 0: copies do not cool
  std::set<std::pair<uint64_t, uint32_t>> copies_; // what may go of what was copied: last use, slot
  std::vector<entry> slots_;
  uint64_t clock_ = 0; // uses of blocks
};

} // namespace perigee
