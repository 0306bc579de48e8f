// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/ids.hpp"
#include "actors/core/transfer_messages.hpp"

#include <algorithm>
#include <cassert>
#include <optional>
#include <vector>

namespace perigee {

/// Numbers of the transfers that peers write into a decode instance's slots: each open one has an immediate that no
/// other has had lately. An index is used again with the next generation, so that a late immediate of the transfer
/// before means nothing.
class inbound_transfers {
public:
  /// The transport actor's lane for this client; before the first `open`.
  void use_lane(uint32_t lane) {
    lane_ = lane;
  }

  bool full() const {
    return open_ >= immediate_indices;
  }

  /// The immediate of a new transfer for that attempt. Not when `full`.
  uint32_t open(const ticket& id) {
    assert(!full());
    auto at = std::find_if(entries_.begin(), entries_.end(), [](const entry& item) { return !item.id; });
    if (at == entries_.end())
      at = entries_.insert(entries_.end(), entry{});
    at->id = id;
    ++at->generation;
    ++open_;
    return make_immediate(lane_, static_cast<uint32_t>(at - entries_.begin()), at->generation);
  }

  /// Whose transfer it is, while that is open.
  std::optional<ticket> find(uint32_t immediate) const {
    auto index = index_of(immediate);
    if (index >= entries_.size() || make_immediate(lane_, index, entries_[index].generation) != immediate)
      return std::nullopt;
    return entries_[index].id;
  }

  /// Of an open transfer.
  void close(uint32_t immediate) {
    assert(find(immediate));
    entries_[index_of(immediate)].id.reset();
    --open_;
  }

  size_t size() const {
    return open_;
  }

private:
  struct entry {
    std::optional<ticket> id;
    uint32_t generation = 0;
  };

  uint32_t lane_ = 0;
  std::vector<entry> entries_; // by index
  size_t open_ = 0;
};

} // namespace perigee
