// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/cache/block_index.hpp"

#include <deque>
#include <optional>

namespace perigee {

struct index_feed_limits {
  uint32_t batch_max = 512;     ///< events in one message
  uint32_t pending_max = 65536; ///< changes that wait; more of them start a new epoch instead
};

/// Tells one Conductor at a time what a shard holds: everything first, by key, then changes; one unacknowledged batch
/// at a time. The snapshot is a cursor over the index, not a copy: a change behind the cursor is told after it, one
/// before the cursor the snapshot will meet anyway. Pure; times in ns.
class index_feed {
public:
  index_feed(address self, uint64_t retry_ns, index_feed_limits limits = {});

  /// A new reign: from now on only this Conductor is told.
  void begin(uint64_t term);

  /// A change of the index, told here before the next `poll`.
  void record(const index_event& change);

  /// From the Conductor; other terms and epochs than the present are ignored.
  void ack(const index_ack& news);

  /// The message to send now, if any: the next batch, or the unacknowledged one again.
  std::optional<index_events> poll(const block_index& index, uint64_t now);

  uint64_t epoch() const noexcept {
    return epoch_;
  }

private:
  void begin_epoch();
  void fill(const block_index& index);

  const address self_;
  const uint64_t retry_ns_;
  const index_feed_limits limits_;
  uint64_t term_ = 0;
  uint64_t epoch_ = 0;
  uint64_t sequence_ = 0; // of batch_[0]
  std::vector<index_event> batch_;
  bool unacked_ = false;
  bool fresh_ = false; // the epoch has not been announced yet
  uint64_t next_send_ = 0;
  bool snapshot_ = false;
  std::optional<block_key> cursor_; // last key of the snapshot so far
  std::deque<index_event> pending_;
};

} // namespace perigee
