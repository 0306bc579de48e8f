// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/base/block_key.hpp"

#include <cstdint>
#include <optional>
#include <set>
#include <tuple>

namespace perigee {

/// What an eviction rule may know of a block. Time is counted in uses of blocks at this shard, so that it runs as fast
/// as blocks push each other out.
struct cached_block {
  block_key key;
  uint64_t last_use = 0;
  uint32_t reads = 0; ///< how often it was read since it was stored
  uint32_t depth = 0; ///< blocks before it in its prefix, as far as they are here
};

/// A rule that gives each block a rank, which changes only while the block is in use: the lowest goes first, of equal
/// ones the least recently used. `Rank` is a function of the block. Logarithmic time.
///
/// Every eviction rule is a value with these functions. `add` and `remove` tell it which slots may be given up; what it
/// is told of a block stays the same between the two.
template <auto Rank>
class evict_ranked {
public:
  void add(uint32_t slot, const cached_block& block, uint64_t) {
    order_.emplace(Rank(block), block.last_use, slot);
  }
  void remove(uint32_t slot, const cached_block& block) {
    order_.erase({Rank(block), block.last_use, slot});
  }
  bool contains(uint32_t slot, const cached_block& block) const {
    return order_.contains({Rank(block), block.last_use, slot});
  }
  /// The slot to give up next, if there is any.
  std::optional<uint32_t> victim(uint64_t) {
    return order_.empty() ? std::nullopt : std::optional{std::get<2>(*order_.begin())};
  }

  // What happens to blocks that may not be given up.
  void stored(cached_block&, uint64_t) {}
  void read(cached_block&, uint64_t) {}
  void evicted(const cached_block&) {}

private:
  std::set<std::tuple<uint64_t, uint64_t, uint32_t>> order_; // rank, last use, slot
};

constexpr uint64_t rank_equal(const cached_block&) noexcept {
  return 0;
}
constexpr uint64_t rank_by_reads(const cached_block& block) noexcept {
  return block.reads;
}
constexpr uint64_t rank_by_depth(const cached_block& block) noexcept {
  return UINT64_MAX - block.depth;
}

using evict_lru = evict_ranked<&rank_equal>;
using evict_lfu = evict_ranked<&rank_by_reads>;
using evict_length_aware = evict_ranked<&rank_by_depth>;

} // namespace perigee
