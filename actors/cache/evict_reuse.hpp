// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/cache/evict_ranked.hpp"

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

namespace perigee {

/// Gives up the block with the fewest reads to expect for the time it would stay, as learned from what was read again.
///
/// Blocks are of a class by how often they were read before, and of an age by the uses of other blocks since their last
/// own. For each class the rule counts after which age blocks are read again, also those it has given up already, whose
/// keys it remembers for a while (`ghosts_per_slot` for each slot). The worth of a block of class c and age a is the best
/// ratio, over all ages b > a until which it might be kept, of the reads between a and b to the time spent until a read
/// or b. That is Gittins' index: a block that is read often is kept longer, one that has never been read again for
/// longer than such blocks usually take goes, and where nothing is known yet, the oldest goes.
///
/// Ages are put into bins, each twice as wide as the one before. Constant time for each class and bin, and logarithmic in
/// the blocks.
class evict_reuse {
public:
  explicit evict_reuse(uint32_t slots);

  void add(uint32_t slot, const cached_block& block, uint64_t now);
  void remove(uint32_t slot, const cached_block& block);
  bool contains(uint32_t slot, const cached_block& block) const;
  std::optional<uint32_t> victim(uint64_t now);

  /// Takes the number of reads over from the time before the block was given up, if that is remembered.
  void stored(cached_block& block, uint64_t now);
  void read(cached_block& block, uint64_t now);
  void evicted(const cached_block& block);

  static constexpr uint32_t ghosts_per_slot = 4;

  /// Keys remembered of blocks that were given up.
  size_t ghosts() const noexcept {
    return ghosts_.size();
  }
  /// The worth of a block that was read `reads` times before and not used for `age`. For tests.
  double worth(uint32_t reads, uint64_t age) const;

private:
  static constexpr size_t classes = 4; // read 0, 1, 2, or more times before
  static constexpr size_t bins = 40;

  struct ghost {
    uint64_t last_use = 0;
    uint32_t reads = 0;
  };
  struct class_counts {
    double idle = 0;                     // times a block of this class was left alone
    std::array<double, bins> read_again; // by age
  };
  using waiting = std::set<std::pair<uint64_t, uint32_t>>; // last use, slot

  static size_t class_of(uint32_t reads);
  static size_t bin_of(uint64_t age);
  static uint64_t begin_of(size_t bin);
  static double width_of(size_t bin);
  void note_read(uint32_t reads, uint64_t age);
  void learn(uint64_t now);
  void let_age(uint64_t now);

  const uint64_t slots_;
  uint64_t next_learning_ = 0;
  std::array<class_counts, classes> counts_{};
  std::array<std::array<double, bins>, classes> worth_;
  std::array<std::array<waiting, bins>, classes> waiting_;
  std::vector<uint8_t> bin_of_slot_;
  std::unordered_map<block_key, ghost, block_key_hash> ghosts_; // never iterated
  std::deque<std::pair<block_key, uint64_t>> forget_;           // with the last use that `ghosts_` had then
};

} // namespace perigee
