// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/cache/block_pool.hpp"
#include "actors/cache/evictor.hpp"
#include "actors/cache/slot_table.hpp"
#include "actors/core/store_messages.hpp"

#include <optional>
#include <vector>

namespace perigee {

/// The visible blocks of one shard: which slot holds which key, who is pinned, and who goes next when room is needed.
/// Every `live` slot of the pool holds a visible block: one reference is the cache's, each further one a pin. Pure.
class block_index {
public:
  explicit block_index(uint32_t slots, eviction rule = eviction::lru, uint32_t copies_cool = copies_cool_default);

  const block_pool& pool() const noexcept {
    return pool_;
  }

  uint32_t size() const noexcept {
    return table_.size();
  }

  std::optional<uint32_t> find(const block_key& key) const {
    return table_.find(key);
  }

  /// Protects a visible block from eviction, once per call.
  void pin(uint32_t slot);

  /// Counts as a use when the last pin goes. Blocks of one prefix are to be unpinned last block first, so that the
  /// beginning of a prefix was used later than its end.
  void unpin(uint32_t slot);

  /// A reader found the block, which it has pinned.
  void count_read(uint32_t slot) {
    evictor_.read(slot);
  }

  /// A reader on another node found the block, which it has pinned, and keeps a copy.
  void count_copy(uint32_t slot) {
    evictor_.copied(slot);
  }

  /// A slot to write into (`transfer`): a free one, or that of an unpinned block without a visible successor, which is
  /// evicted. What is visible stays closed under prefixes.
  std::optional<uint32_t> take();

  /// A slot from `take` that will not be stored. No write to it can land any more.
  void give_back(uint32_t slot);

  /// Makes a slot from `take` the visible block `key`, which was not there yet. It is pinned once. `before` is the block
  /// before it in its prefix; if that is visible, it stays at least as long.
  void store(const block_key& key, uint32_t slot, const std::optional<block_key>& before = {});

  /// What became visible or was evicted since the last call, in order.
  std::vector<index_event> take_changes();

  /// The visible key after `key`, or the first.
  std::optional<block_key> next(const std::optional<block_key>& key) const;

  /// Recounts and compares. For tests and simulations.
  bool check() const;

private:
  block_pool pool_;
  evictor evictor_;
  slot_table table_;
  std::vector<index_event> changes_;
};

} // namespace perigee
