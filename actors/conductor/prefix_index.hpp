// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/conductor/replica_lists.hpp"
#include "transport/base/block_key.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace perigee {

/// Which shards hold which blocks, as far as their events told. A shard is named by its index, below 2^31.
///
/// A block with one or two replicas takes 24 bytes of an open table that is at most three quarters full, or a quarter where
/// the index is small. The table is cut into parts that grow one by one, so that no single event pays for moving all blocks.
class prefix_index {
public:
  /// Cut into two to the power of `part_bits` parts; few, and searched in the fewest steps, for one that stays small.
  explicit prefix_index(uint32_t part_bits = 10, bool stays_small = false);

  void store(const block_key& key, uint32_t shard);
  void evict(const block_key& key, uint32_t shard);
  void store(std::span<const block_key> keys, uint32_t shard);
  void evict(std::span<const block_key> keys, uint32_t shard);
  /// Asks for the memory where the block stands or would stand. A large index is nowhere in the processor's caches: who
  /// knows which blocks come next says so, and waits for them all at once.
  void prefetch(const block_key& key) const noexcept {
    auto hashed = hash(key);
    const auto& at = part_of(hashed);
    if (!at.slots.empty())
      __builtin_prefetch(&at.slots[hashed & (at.slots.size() - 1)]);
  }
  /// Forgets everything of one shard.
  void drop_shard(uint32_t shard);

  /// The shards that hold the block, ascending; valid until the next change.
  std::span<const uint32_t> find(const block_key& key) const;
  /// For each block of `keys`, in order, until the first that no shard holds: the shards that hold it; valid until the next
  /// change. Replaces the content of `found`.
  void lookup(std::span<const block_key> keys, std::vector<std::span<const uint32_t>>& found) const;

  bool holds(const block_key& key, uint32_t shard) const;
  uint64_t blocks_of(uint32_t shard) const;
  size_t blocks() const noexcept {
    return blocks_;
  }
  /// Memory of the table and the lists, also what is not used yet.
  size_t bytes() const noexcept;
  /// Grows with every change.
  uint64_t version() const noexcept {
    return version_;
  }

private:
  /// `first` is `nobody` in a free slot; with its top bit set its other bits count the replicas in list `second`; otherwise
  /// it is the lowest replica and `second` the other one, or `nobody`.
  struct slot {
    block_key key;
    uint32_t first = nobody;
    uint32_t second = nobody;
  };
  struct part {
    std::vector<slot> slots; // a power of two
    uint32_t used = 0;
  };

  static constexpr uint32_t nobody = UINT32_MAX;
  static constexpr uint32_t is_list = uint32_t{1} << 31;
  static constexpr size_t ahead = 16; // keys whose memory is asked for before the first is looked at
  static constexpr size_t near_blocks = 8192; // so many are in the processor's caches anyway

  static uint64_t hash(const block_key& key) noexcept {
    auto mixed = key.low * 0x9e3779b97f4a7c15u ^ key.high;
    mixed = (mixed ^ (mixed >> 32)) * 0xd6e8feb86659fd93u;
    return mixed ^ (mixed >> 32);
  }
  const part& part_of(uint64_t hashed) const noexcept {
    return parts_[hashed >> part_shift_];
  }
  part& part_of(uint64_t hashed) noexcept {
    return parts_[hashed >> part_shift_];
  }
  /// Where the key stands, or the free slot where its search ends. Not of an empty table.
  static size_t probe(const part& at, uint64_t hashed, const block_key& key) noexcept {
    auto mask = at.slots.size() - 1;
    auto i = hashed & mask;
    while (at.slots[i].first != nobody && at.slots[i].key != key)
      i = (i + 1) & mask;
    return i;
  }
  const slot* find_slot(const block_key& key) const;
  slot& make_slot(const block_key& key, uint64_t hashed, part& at, size_t place);
  void grow(part& at);
  void free_slot(part& at, size_t hole);
  void prefetch_some(std::span<const block_key> keys) const noexcept;
  std::span<const uint32_t> replicas(const slot& at) const;
  bool add(slot& at, uint32_t shard);
  bool remove(slot& at, uint32_t shard);

  uint32_t part_shift_;
  uint32_t quarters_max_; ///< of a part that may be full
  std::vector<part> parts_; // never iterated for a decision
  replica_lists lists_;
  std::vector<uint64_t> counts_; // by shard
  size_t blocks_ = 0;
  uint64_t version_ = 0;
};

/// Where to read the first `blocks` blocks of `found`: from `local` while it has them, otherwise from the shard of the block
/// before, otherwise from `source`, otherwise from the lowest one. (Shard, blocks) each.
std::vector<std::pair<uint32_t, uint32_t>> plan_prefix(const std::vector<std::span<const uint32_t>>& found,
                                                       uint32_t blocks, uint32_t local, uint32_t source);

} // namespace perigee
