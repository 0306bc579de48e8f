// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/cache/evictor.hpp"

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

namespace perigee::sim {

/// Up to a number of blocks, kept by an eviction rule as in a cache shard. Blocks are dense numbers from 0, the block
/// before one in its prefix is always the same. A request is matched first and inserted afterwards; with a block its
/// whole prefix is cached.
class block_cache {
public:
  block_cache(eviction rule, uint64_t capacity);

  /// How many leading blocks of `request` were cached, before it was inserted.
  uint64_t match_and_insert(std::span<const uint32_t> request);

private:
  static constexpr uint32_t none = std::numeric_limits<uint32_t>::max();

  bool holds(uint32_t block) const {
    return block < slots_.size() && slots_[block] != none;
  }
  std::optional<uint32_t> take();

  uint32_t capacity_;
  evictor evictor_;
  std::vector<uint32_t> slots_;  // by block
  std::vector<uint32_t> blocks_; // by slot
};

/// Hits of the best possible cache of `capacity` blocks, which knows all that is to come (Belady's MIN, with the
/// freedom not to keep a block): no eviction rule finds more of `accesses` cached, one after another. Numbers are dense
/// from 0.
uint64_t belady_hits(std::span<const uint32_t> accesses, uint64_t capacity);

} // namespace perigee::sim
