// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/base/block_key.hpp"

#include <bit>
#include <cassert>
#include <cstdint>
#include <optional>
#include <vector>

namespace perigee {

/// Which slot of a pool holds which key: a table of slot numbers that is sorted by key. A key stands as close as it can
/// behind the place that its top bits name. Keys are SHA-256, so that is nearby; keys that are not uniform make it slow, not
/// wrong.
class slot_table {
public:
  /// For that many slots; each can have one key.
  explicit slot_table(uint32_t slots)
    : shift_(64 - std::bit_width(slots)), places_((size_t{2} << std::bit_width(slots)) + slots + 1, nobody), keys_(slots) {}

  std::optional<uint32_t> find(const block_key& key) const {
    auto at = lower_bound(key);
    if (places_[at] == nobody || keys_[places_[at]] != key)
      return std::nullopt;
    return places_[at];
  }

  /// The key must not be there, and the slot have none.
  void insert(const block_key& key, uint32_t slot) {
    keys_[slot] = key;
    ++size_;
    for (auto at = lower_bound(key); slot != nobody; ++at)
      std::swap(places_[at], slot);
  }

  /// Of a slot that has one.
  const block_key& key_of(uint32_t slot) const {
    return keys_[slot];
  }

  /// Takes away the key of a slot that has one.
  void erase(uint32_t slot) {
    auto at = lower_bound(keys_[slot]);
    assert(places_[at] == slot);
    --size_;
    // What follows moves up, until something stands where its key names.
    for (auto next = at + 1; places_[next] != nobody && home(keys_[places_[next]]) < next; at = next++)
      places_[at] = places_[next];
    places_[at] = nobody;
  }

  /// The lowest key above `key`, or the lowest of all.
  std::optional<block_key> next(const std::optional<block_key>& key) const {
    auto at = key ? lower_bound(*key) : size_t{0};
    if (key && places_[at] != nobody && keys_[places_[at]] == *key)
      ++at;
    while (at < places_.size() && places_[at] == nobody)
      ++at;
    if (at == places_.size())
      return std::nullopt;
    return keys_[places_[at]];
  }

  uint32_t size() const noexcept {
    return size_;
  }

private:
  static constexpr uint32_t nobody = UINT32_MAX;

  /// Twice as many homes as there are slots, at least; behind the last one there is room for every slot, and an end.
  size_t home(const block_key& key) const {
    return key.high >> (shift_ - 1);
  }

  /// The place of the first key from `key` on among those that stand together there, or the free one behind them.
  size_t lower_bound(const block_key& key) const {
    auto at = home(key);
    while (places_[at] != nobody && keys_[places_[at]] < key)
      ++at;
    return at;
  }

  int shift_;
  std::vector<uint32_t> places_; // slots, ascending by key
  std::vector<block_key> keys_;  // by slot
  uint32_t size_ = 0;
};

} // namespace perigee
