// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/ids.hpp"

#include <deque>
#include <map>

namespace perigee {

/// Remembers which attempts are over, so that a late or repeated message of one changes nothing (I6). Bounded: the oldest
/// are forgotten; a message that is later than thousands of requests finds no session that listens to it.
class tombstones {
public:
  void bury(const ticket& id) {
    auto [at, fresh] = highest_.try_emplace(id.request, id.attempt);
    if (!fresh) {
      at->second = std::max(at->second, id.attempt);
      return;
    }
    order_.push_back(id.request);
    if (order_.size() > kept_max) {
      highest_.erase(order_.front());
      order_.pop_front();
    }
  }

  /// Whether this attempt, or a higher one of its request, is over.
  bool covers(const ticket& id) const {
    auto at = highest_.find(id.request);
    return at != highest_.end() && at->second >= id.attempt;
  }

private:
  static constexpr auto kept_max = size_t{16384};

  std::map<request_id, uint32_t> highest_;
  std::deque<request_id> order_;
};

} // namespace perigee
