// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/base/spread_key.hpp"

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace perigee::sim {

/// Values by block id in one flat table that only grows, since it holds every id of a trace. `Value` is small, and
/// `Value{}.is_free()` is true; a value that was stored is never free. Nothing iterates over it.
template <class Value>
class flat_id_map {
public:
  /// The value of `id`, which becomes `offered` if there is none, and whether it did.
  std::pair<Value, bool> find_or_add(uint64_t id, const Value& offered) {
    if (4 * (used_ + 1) > 3 * slots_.size())
      grow();
    auto& found = slot_of(slots_, id);
    if (!found.value.is_free())
      return {found.value, false};
    found = {id, offered};
    ++used_;
    return {offered, true};
  }

  size_t size() const noexcept {
    return used_;
  }

private:
  struct slot {
    uint64_t id = 0;
    Value value = {};
  };

  static slot& slot_of(std::vector<slot>& slots, uint64_t id) {
    auto mask = slots.size() - 1;
    auto i = spread_key(id, 1) & mask;
    while (!slots[i].value.is_free() && slots[i].id != id)
      i = (i + 1) & mask;
    return slots[i];
  }

  void grow() {
    auto larger = std::vector<slot>(slots_.empty() ? 1024 : 2 * slots_.size());
    for (const auto& old : slots_)
      if (!old.value.is_free())
        slot_of(larger, old.id) = old;
    slots_ = std::move(larger);
  }

  std::vector<slot> slots_; // a power of two
  size_t used_ = 0;
};

} // namespace perigee::sim
