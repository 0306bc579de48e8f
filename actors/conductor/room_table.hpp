// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/conductor/books.hpp"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace perigee {

/// What every query asks of every instance, side by side: all of them are looked at for each request.
class room_table {
public:
  struct prefill {
    uint32_t index = 0;
    uint64_t capacity = 0; ///< tokens
  };

  /// Those for which `is_used` holds, by index.
  template <class IsUsed>
  void rebuild(const books& from, IsUsed is_used) {
    prefills_.clear();
    decodes_.clear();
    places_.clear();
    for (const auto* at : from.instances(role::prefill))
      if (is_used(*at))
        prefills_.push_back({at->who.index, at->last.token_capacity});
    for (const auto* at : from.instances(role::decode)) {
      if (!is_used(*at))
        continue;
      places_.resize(at->who.index + size_t{1});
      decodes_.push_back({at->who.index, at->last.token_capacity, room_of(*at)});
      places_.back() = static_cast<uint32_t>(decodes_.size());
    }
  }

  /// What has been opened or closed there. Who came, went, or holds more now asks for `rebuild`.
  void update(const books::member& at) {
    if (at.who.kind == role::decode && at.who.index < places_.size() && places_[at.who.index] != 0)
      decodes_[places_[at.who.index] - 1].room = room_of(at);
  }

  const std::vector<prefill>& prefills() const noexcept {
    return prefills_;
  }
  /// Decode instances that have room for a prompt and what it generates, by index. One with nothing to do takes
  /// whatever leaves it a token to generate.
  std::vector<uint32_t> with_room(uint64_t prompt, uint64_t output) const {
    auto found = std::vector<uint32_t>(decodes_.size());
    auto* next = found.data();
    for (const auto& at : decodes_) {
      *next = at.index;
      next += (at.capacity > prompt) & (at.room >= prompt + output);
    }
    found.resize(static_cast<size_t>(next - found.data()));
    return found;
  }

private:
  struct decode {
    uint32_t index = 0;
    uint64_t capacity = 0;
    uint64_t room = 0; ///< tokens that may still be reserved
  };

  static uint64_t room_of(const books::member& at) {
    return at.open == 0 ? UINT64_MAX : at.last.token_capacity - std::min(at.last.token_capacity, at.tokens);
  }

  std::vector<prefill> prefills_;
  std::vector<decode> decodes_;
  std::vector<uint32_t> places_; // by index of a decode instance: 1 + place in decodes_
};

} // namespace perigee
