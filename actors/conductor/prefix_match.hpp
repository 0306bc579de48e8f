// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/conductor/prefix_index.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

namespace perigee {

/// Which shard is local to which prefill instance: the one of the same number on its node, otherwise the first there.
class locality {
public:
  /// Replaces everything: prefill instances and shards as (index, node).
  void rebuild(const std::map<uint32_t, uint32_t>& prefills, const std::map<uint32_t, uint32_t>& shards);

  std::optional<uint32_t> shard_of(uint32_t prefill) const;
  /// Instances to which that shard is local, ascending.
  std::span<const uint32_t> instances_at(uint32_t shard) const {
    return shard < instances_.size() ? std::span<const uint32_t>{instances_[shard]} : std::span<const uint32_t>{};
  }
  /// Largest index of a prefill instance + 1.
  size_t prefills() const noexcept {
    return shards_.size();
  }

private:
  std::vector<std::optional<uint32_t>> shards_;  // by prefill instance
  std::vector<std::vector<uint32_t>> instances_; // by shard
};

/// How much of one prompt is where: for every prefill instance the leading blocks that its local shard holds or that
/// are being computed there, and the longest prefix of the pool. One pass over the blocks, one look-up for each.
class prefix_match {
public:
  void find(std::span<const block_key> keys, const prefix_index& blocks, const locality& where);

  /// Blocks that need neither a transfer nor computing if the request runs on that instance.
  uint32_t own(uint32_t prefill) const {
    return prefill < own_.size() ? own_[prefill] : 0;
  }
  /// The same of all, by index; those behind its end have none.
  std::span<const uint32_t> own() const {
    return own_;
  }
  /// Blocks of the longest prefix that is stored somewhere.
  uint32_t best() const {
    return static_cast<uint32_t>(found_.size());
  }
  /// Shards that hold the last block of that prefix; empty if there is none.
  std::span<const uint32_t> holders() const {
    return found_.empty() ? std::span<const uint32_t>{} : found_.back();
  }
  /// The shards of each block of that prefix; valid while the index is at `version`.
  const std::vector<std::span<const uint32_t>>& found() const {
    return found_;
  }
  uint64_t version() const {
    return version_;
  }

private:
  std::vector<std::span<const uint32_t>> found_;
  std::vector<uint32_t> own_;
  uint64_t version_ = 0;
};

} // namespace perigee
