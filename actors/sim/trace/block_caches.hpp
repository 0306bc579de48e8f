// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace perigee::sim {

/// Least recently used blocks, up to a number of them. Blocks are dense numbers from 0. A request is matched first and
/// inserted afterwards, last block first, so that with a block its whole prefix is cached.
class lru_blocks {
public:
  explicit lru_blocks(uint64_t capacity) : capacity_(capacity) {}

  /// How many leading blocks of `request` were cached, before it was inserted.
  uint64_t match_and_insert(std::span<const uint32_t> request);

private:
  static constexpr uint32_t none = std::numeric_limits<uint32_t>::max();
  static constexpr uint32_t absent = none - 1;

  struct links {
    uint32_t newer = absent;
    uint32_t older = none;
  };

  bool holds(uint32_t block) const {
    return block < blocks_.size() && blocks_[block].newer != absent;
  }
  void touch(uint32_t block);
  void unlink(uint32_t block);

  uint64_t capacity_;
  uint64_t size_ = 0;
  uint32_t newest_ = none;
  uint32_t oldest_ = none;
  std::vector<links> blocks_;
};

/// Hits of the best possible cache of `capacity` blocks, which knows all that is to come (Belady's MIN, with the
/// freedom not to keep a block): no eviction rule finds more of `accesses` cached, one after another. Numbers are dense
/// from 0.
uint64_t belady_hits(std::span<const uint32_t> accesses, uint64_t capacity);

} // namespace perigee::sim
