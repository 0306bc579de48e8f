// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/sim/traffic.hpp"

#include <string>
#include <vector>

namespace perigee::sim {

/// Watches a whole cluster from outside (DESIGN.md §5). What needs no quiet is checked while the world runs: the accounts of
/// pools at intervals (I1), each write of the fabric when it lands (I2), the content of a shard's visible blocks at intervals
/// (I4). What holds only once nothing is under way is checked by `quiet`. Must outlive every run of the world.
class checkers {
public:
  checkers(cluster& target, const traffic& clients);

  /// Everything is over: all books are empty (I5), every content is right (I4), the index is the shards' truth (I7).
  void quiet();

  const std::vector<std::string>& problems() const {
    return problems_;
  }

  uint64_t writes_seen() const {
    return writes_seen_;
  }
  uint64_t blocks_compared() const {
    return blocks_compared_;
  }

private:
  void instant();
  void check_pools();
  void check_content(uint32_t shard);
  void check_mismatches();
  void landing(role kind, uint32_t index, uint32_t slot);
  const block_pool* pool_of(role kind, uint32_t index) const;
  void problem(std::string what);

  cluster& target_;
  const traffic& clients_;
  uint64_t instants_ = 0;
  uint64_t writes_seen_ = 0;
  uint64_t blocks_compared_ = 0;
  std::vector<std::string> problems_;
};

} // namespace perigee::sim
