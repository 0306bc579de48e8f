// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/conductor/free_numbers.hpp"
#include "actors/conductor/key_table.hpp"
#include "actors/conductor/replica_lists.hpp"
#include "actors/core/store_messages.hpp"
#include "transport/base/block_key.hpp"

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace perigee {

/// Which shards hold which blocks, as far as their events told, and which prefill instances compute which. A shard or
/// instance is named by its index, below 2^31.
///
/// Each block is a node of 32 bytes with a number, and the blocks of a prefix that came together have numbers one after
/// the other. So of a prefix only the first block, and the first of what another request has added, is searched in the
/// table; the others are where the one before stands. A block that nobody holds or computes any more stays for a little
/// while: what has just been computed is about to be stored.
class prefix_index {
public:
  void store(const block_key& key, uint32_t shard);
  void evict(const block_key& key, uint32_t shard);
  /// What a shard told, in order.
  void apply(std::span<const index_event> events, uint32_t shard);
  /// Forgets everything of one shard.
  void drop_shard(uint32_t shard);

  /// The blocks of a prefix will be at that prefill instance, which computes them.
  void expect(std::span<const block_key> keys, uint32_t prefill);
  /// They are there, or will not be.
  void forget(std::span<const block_key> keys, uint32_t prefill);

  /// Asks for the memory where the blocks stand or would stand. A large index is nowhere in the processor's caches: who
  /// knows which blocks come next says so, and has something else to do meanwhile.
  void prefetch(std::span<const block_key> keys) const noexcept {
    if (end() <= near_blocks)
      return;
    for (const auto& key : keys.first(std::min(ahead_max, keys.size())))
      table_.prefetch(hash(key));
  }

  /// Who has a block. The lists are ascending, and valid until the next change.
  struct known {
    std::span<const uint32_t> stored;   ///< shards
    std::span<const uint32_t> expected; ///< prefill instances
  };

  /// Calls `visit(known)` for each block of a prefix, in order, until that returns false or a block is unknown.
  template <class Visit>
  void each(std::span<const block_key> keys, Visit visit) const {
    auto number = uint32_t{0};
    for (const auto& key : keys) {
      number = next_of(number, key);
      if (number == 0 || !visit(known_of(number)))
        return;
    }
  }

  /// The shards that hold the block, ascending; valid until the next change.
  std::span<const uint32_t> find(const block_key& key) const;
  bool holds(const block_key& key, uint32_t shard) const;
  uint64_t blocks_of(uint32_t shard) const;
  /// Those that a shard holds.
  size_t blocks() const noexcept {
    return blocks_;
  }
  /// Memory of all tables and lists, also what is not used yet.
  size_t bytes() const noexcept;
  /// Grows with every change of what is stored.
  uint64_t version() const noexcept {
    return version_;
  }

private:
  struct node {
    block_key key;
    replica_set stored;
    replica_set expected;
  };

  static constexpr size_t ahead_max = 64;                    // keys whose memory is asked for at once
  static constexpr size_t near_blocks = 8192;                // so many are in the processor's caches anyway
  static constexpr size_t left_max = 1024;                   // blocks that stay without anybody who has them
  static constexpr block_key no_key{UINT64_MAX, UINT64_MAX}; // of a free node; a block's key is 128 bits of a SHA-256
  static constexpr size_t piece_nodes = index_memory::piece_bytes / sizeof(node);

  static uint64_t hash(const block_key& key) noexcept {
    auto mixed = key.low * 0x9e3779b97f4a7c15u ^ key.high;
    mixed = (mixed ^ (mixed >> 32)) * 0xd6e8feb86659fd93u;
    return mixed ^ (mixed >> 32);
  }
  uint32_t end() const noexcept {
    return numbers_.end();
  }
  node& at(uint32_t number) noexcept {
    return pieces_[number / piece_nodes][number % piece_nodes];
  }
  const node& at(uint32_t number) const noexcept {
    return pieces_[number / piece_nodes][number % piece_nodes];
  }
  known known_of(uint32_t number) const {
    const auto& it = at(number);
    return {it.stored.read(stored_lists_), it.expected.read(expected_lists_)};
  }

  /// Whether it stands right behind `before`.
  bool follows(uint32_t before, const block_key& key) const noexcept {
    return before != 0 && before + 1 < end() && at(before + 1).key == key;
  }
  auto is_of(const block_key& key) const {
    return [this, &key](uint32_t number) { return at(number).key == key; };
  }
  uint32_t search(const block_key& key) const {
    return table_.find(hash(key), is_of(key));
  }
  /// Number of the block that comes after `before`, which is 0 for the first one; 0 if it is unknown.
  uint32_t next_of(uint32_t before, const block_key& key) const {
    return follows(before, key) ? before + 1 : search(key);
  }

  uint32_t make(const block_key& key);
  uint32_t search_or_make(const block_key& key) {
    return table_.find_or_insert(hash(key), is_of(key), [&] { return make(key); });
  }
  void leave(uint32_t number);
  void store_at(uint32_t number, uint32_t shard);
  void evict_at(uint32_t number, uint32_t shard);
  void prefetch_from(std::span<const index_event> events, size_t place, size_t& asked) const noexcept;

  key_table table_;
  index_memory memory_;
  std::vector<node*> pieces_;
  free_numbers numbers_;
  std::vector<uint32_t> left_; // ring: blocks that nobody had when they were put there
  size_t left_next_ = 0;
  replica_lists stored_lists_;
  replica_lists expected_lists_;
  std::vector<uint64_t> counts_; // by shard
  size_t blocks_ = 0;
  uint64_t version_ = 0;
};

/// Where to read the first `blocks` blocks of `found`: from `local` while it has them, otherwise from the shard of the
/// block before, otherwise from `source`, otherwise from the lowest one. (Shard, blocks) each.
std::vector<std::pair<uint32_t, uint32_t>> plan_prefix(const std::vector<std::span<const uint32_t>>& found,
                                                       uint32_t blocks, uint32_t local, uint32_t source);

} // namespace perigee
