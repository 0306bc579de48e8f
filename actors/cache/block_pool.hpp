// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace perigee {

/// What a slot of a pool is for right now (DESIGN.md §5, I1 and I2).
enum class slot_state : uint8_t {
  free,     ///< nobody has it, and no write to it can land
  reserved, ///< promised to somebody; nothing writes to it from outside
  transfer, ///< a one-sided write may still land in it
  live,     ///< holds KV; counted references
};
inline constexpr size_t slot_states = 4;

/// Accounts for the slots of one pool: each is in exactly one state, the counts sum to the capacity, and a freed slot
/// is reused last, so that a stray late write hits cold memory first. Pure bookkeeping, owned by one actor; the memory
/// itself is somewhere else. Calls that break the rules (freeing a free slot, a slot out of range) are bugs of the
/// owner and abort.
class block_pool {
public:
  explicit block_pool(uint32_t capacity);

  /// `n` slots in `state` (not `free`; `live` ones have one reference), longest unused first; all or nothing.
  std::optional<std::vector<uint32_t>> take(uint32_t n, slot_state state);

  /// One slot, as `take`.
  std::optional<uint32_t> take_one(slot_state state);

  /// From `reserved`.
  void to_transfer(uint32_t slot);

  /// From `reserved` or `transfer`; with one reference.
  void to_live(uint32_t slot);

  /// Of a `live` slot.
  void add_ref(uint32_t slot);

  /// Of a `live` slot; returns whether it was the last one and the slot is free now.
  bool drop_ref(uint32_t slot);

  /// From `reserved` or `transfer`; for the latter the caller knows that no write can land any more.
  void free(uint32_t slot);

  slot_state state(uint32_t slot) const;

  /// 0 unless `live`.
  uint32_t refs(uint32_t slot) const;

  /// Counts how often the slot became free; (slot, generation) is never the same twice within 2^32 uses.
  uint32_t generation(uint32_t slot) const;

  uint32_t count(slot_state state) const noexcept {
    return counts_[static_cast<size_t>(state)];
  }

  uint32_t capacity() const noexcept {
    return static_cast<uint32_t>(slots_.size());
  }

  /// Recounts everything from scratch and compares (I1). Linear; for tests and simulations.
  bool check() const;

private:
  struct entry {
    slot_state state = slot_state::free;
    uint32_t refs = 0;
    uint32_t generation = 0;
    uint32_t next = 0; // in the free list
  };

  entry& at(uint32_t slot);
  const entry& at(uint32_t slot) const;
  void change(entry& slot, slot_state to);
  uint32_t next_free(slot_state state);
  void to_free(uint32_t slot);

  std::vector<entry> slots_;
  std::array<uint32_t, slot_states> counts_{};
  uint32_t first_free_ = 0; // the free list is singly linked through `next`; ends are meaningless while it is empty
  uint32_t last_free_ = 0;
};

} // namespace perigee
