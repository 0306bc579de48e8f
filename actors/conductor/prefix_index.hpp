// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/store_messages.hpp"

#include <boost/container/small_vector.hpp>

#include <cstdint>
#include <map>
#include <span>
#include <unordered_map>
#include <vector>

namespace perigee {

/// Which shards hold which blocks, as far as their events told. A shard is named by its index.
class prefix_index {
public:
  void store(const block_key& key, uint32_t shard);
  void evict(const block_key& key, uint32_t shard);
  /// Forgets everything of one shard.
  void drop_shard(uint32_t shard);

  /// For each block of `keys`, in order, until the first that no shard holds: the shards that hold it, ascending.
  std::vector<std::span<const uint32_t>> lookup(std::span<const block_key> keys) const;

  bool holds(const block_key& key, uint32_t shard) const;
  uint64_t blocks_of(uint32_t shard) const;
  size_t blocks() const noexcept {
    return entries_.size();
  }

private:
  using replica_set = boost::container::small_vector<uint32_t, 2>; // ascending

  std::unordered_map<block_key, replica_set, block_key_hash> entries_; // never iterated for a decision
  std::map<uint32_t, uint64_t> counts_;
};

/// How many of the leading blocks in `found` the shard holds.
uint32_t leading_blocks(const std::vector<std::span<const uint32_t>>& found, uint32_t shard);

/// Where to read the first `blocks` blocks: from `preferred` while it has them, otherwise from the shard of the block
/// before, otherwise from the lowest one.
std::vector<std::pair<uint32_t, uint32_t>> plan_prefix(const std::vector<std::span<const uint32_t>>& found,
                                                       uint32_t blocks, uint32_t preferred);

} // namespace perigee
