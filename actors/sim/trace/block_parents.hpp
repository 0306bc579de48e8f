// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/base/spread_key.hpp"

#include <cstdint>
#include <optional>
#include <vector>

namespace perigee::sim {

/// Which block each block of a trace follows, and the line that said so first. One flat table, since it holds every id
/// of a trace; nothing iterates over it.
class block_parents {
public:
  struct entry {
    std::optional<uint64_t> parent; ///< none: the block begins a prompt
    uint64_t line = 0;

    friend bool operator==(const entry&, const entry&) = default;
  };

  /// The entry of `id`, which is `offered` if `id` was not known.
  entry find_or_add(uint64_t id, const entry& offered) {
    if (4 * (used_ + 1) > 3 * slots_.size())
      grow();
    auto& found = slot_of(slots_, id);
    if (found.line == 0) {
      found = {id, offered.parent.value_or(0), offered.line, !offered.parent};
      ++used_;
    }
    return {found.is_root ? std::nullopt : std::optional{found.parent}, found.line};
  }

private:
  struct slot {
    uint64_t id = 0;
    uint64_t parent = 0;
    uint64_t line : 63 = 0; // 0: free
    uint64_t is_root : 1 = 0;
  };

  static slot& slot_of(std::vector<slot>& slots, uint64_t id) {
    auto mask = slots.size() - 1;
    auto i = spread_key(id, 1) & mask;
    while (slots[i].line != 0 && slots[i].id != id)
      i = (i + 1) & mask;
    return slots[i];
  }

  void grow() {
    auto larger = std::vector<slot>(slots_.empty() ? 1024 : 2 * slots_.size());
    for (const auto& old : slots_)
      if (old.line != 0)
        slot_of(larger, old.id) = old;
    slots_ = std::move(larger);
  }

  std::vector<slot> slots_; // a power of two
  size_t used_ = 0;
};

} // namespace perigee::sim
