// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/kv_layout.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace perigee::kernels {

/// Where in memory the blocks of a stream lie, by slot: those of its own pool, then those that it was lent, one region
/// after the other.
class block_table {
public:
  /// `pool` is of whole blocks.
  block_table(std::span<std::byte> pool, uint64_t block_bytes) : block_bytes_(block_bytes) {
    regions_.push_back({pool.data(), static_cast<uint32_t>(pool.size() / block_bytes)});
    slots_ = regions_.back().slots;
  }

  /// Returns the slot of its first block; nothing where there are no numbers left. Nobody writes to these slots
  /// (kernels/cpu/work_check.hpp refuses it).
  std::optional<uint32_t> lend(std::span<const std::byte> memory) {
    auto more = memory.size() / block_bytes_;
    if (more >= UINT32_MAX - slots_)
      return std::nullopt;
    auto first = slots_;
    regions_.push_back({const_cast<std::byte*>(memory.data()), static_cast<uint32_t>(more)});
    slots_ += regions_.back().slots;
    return first;
  }

  /// Of its own and lent.
  uint32_t slots() const noexcept {
    return slots_;
  }

  /// Of a slot below `slots()`.
  std::byte* at(uint32_t slot) const noexcept {
    auto* region = regions_.data();
    for (; slot >= region->slots; ++region)
      slot -= region->slots;
    return region->first + slot * block_bytes_;
  }

private:
  struct region {
    std::byte* first = nullptr;
    uint32_t slots = 0;
  };

  uint64_t block_bytes_;
  std::vector<region> regions_; // the first one is its own
  uint32_t slots_ = 0;
};

/// Of a place as `prefill_work` counts them.
inline std::byte* place_address(const block_table& table, uint32_t place, const kv_layout& layout) {
  return table.at(place / layout.layers) + layout.offset(0, place % layout.layers);
}

/// Appends the addresses of these slots' blocks.
inline void append_addresses(const block_table& table, std::span<const uint32_t> slots, std::vector<std::byte*>& to) {
  for (auto slot : slots)
    to.push_back(table.at(slot));
}

} // namespace perigee::kernels
