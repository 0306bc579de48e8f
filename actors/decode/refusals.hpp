// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/ids.hpp"

#include <algorithm>
#include <deque>
#include <map>

namespace perigee {

/// Reservations that were refused. A late copy of one is refused again, even if there is room now: its prefill instance
/// has asked for another place, and nobody would free the slots. Bounded: the oldest are forgotten.
class refusals {
public:
  void add(const ticket& id, uint32_t revision) {
    auto [at, fresh] = highest_.try_emplace(id, revision);
    if (!fresh) {
      at->second = std::max(at->second, revision);
      return;
    }
    order_.push_back(id);
    if (order_.size() > kept_max) {
      highest_.erase(order_.front());
      order_.pop_front();
    }
  }

  /// Whether this revision of the placement, or a later one, was refused.
  bool covers(const ticket& id, uint32_t revision) const {
    auto at = highest_.find(id);
    return at != highest_.end() && at->second >= revision;
  }

private:
  static constexpr auto kept_max = size_t{4096};

  std::map<ticket, uint32_t> highest_;
  std::deque<ticket> order_;
};

} // namespace perigee
