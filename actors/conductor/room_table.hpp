// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/conductor/books.hpp"

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
  struct decode {
    uint32_t index = 0;
    uint32_t open = 0; ///< placements
    uint64_t tokens = 0;
    uint64_t capacity = 0;

    bool has_room(uint64_t prompt, uint64_t output) const noexcept {
      return (capacity > prompt) & ((open == 0) | (tokens + prompt + output <= capacity));
    }
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
      decodes_.push_back({at->who.index, at->open, at->tokens, at->last.token_capacity});
      places_.back() = static_cast<uint32_t>(decodes_.size());
    }
  }

  /// What has been opened or closed there. Who came, went, or holds more now asks for `rebuild`.
  void update(const books::member& at) {
    if (at.who.kind != role::decode || at.who.index >= places_.size() || places_[at.who.index] == 0)
      return;
    auto& row = decodes_[places_[at.who.index] - 1];
    row.open = at.open;
    row.tokens = at.tokens;
  }

  const std::vector<prefill>& prefills() const noexcept {
    return prefills_;
  }
  const std::vector<decode>& decodes() const noexcept {
    return decodes_;
  }

private:
  std::vector<prefill> prefills_;
  std::vector<decode> decodes_;
  std::vector<uint32_t> places_; // by index of a decode instance: 1 + place in decodes_
};

} // namespace perigee
