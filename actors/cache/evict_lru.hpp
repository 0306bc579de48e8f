// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cassert>
#include <cstdint>
#include <optional>
#include <vector>

namespace perigee {

/// An eviction policy is a value with these four functions; this one picks the least recently used. It knows the slots
/// that may be evicted, each at most once. Constant time.
class evict_lru {
public:
  explicit evict_lru(uint32_t slots) : links_(slots + 1, link{none, none}), head_(slots) {
    links_[head_] = {head_, head_};
  }

  /// The slot may be evicted from now on, and was used just now.
  void add(uint32_t slot) {
    assert(slot < head_ && !contains(slot));
    auto newest = links_[head_].older;
    links_[slot] = {newest, head_};
    links_[newest].newer = slot;
    links_[head_].older = slot;
  }

  void remove(uint32_t slot) {
    assert(contains(slot));
    auto [older, newer] = links_[slot];
    links_[older].newer = newer;
    links_[newer].older = older;
    links_[slot] = {none, none};
  }

  bool contains(uint32_t slot) const {
    return links_[slot].older != none;
  }

  /// The one to evict next, if there is any.
  std::optional<uint32_t> victim() const {
    if (links_[head_].newer == head_)
      return std::nullopt;
    return links_[head_].newer;
  }

private:
  static constexpr uint32_t none = UINT32_MAX;

  // A ring through all members and `head_`: following `newer` from the head gives the oldest first.
  struct link {
    uint32_t older;
    uint32_t newer;
  };

  std::vector<link> links_;
  uint32_t head_;
};

} // namespace perigee
