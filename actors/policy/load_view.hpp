// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/routing_messages.hpp"

#include <map>

namespace perigee {

/// What a policy knows of the instances: by role and index, so that every decision iterates in the same order.
class load_view {
public:
  void set(const instance_load& load) {
    loads_[{load.who.kind, load.who.index}] = load;
  }

  void erase(const address& who) {
    auto at = loads_.find({who.kind, who.index});
    if (at != loads_.end() && at->second.who == who)
      loads_.erase(at);
  }

  /// Nothing if that instance is not known.
  const instance_load* find(role kind, uint32_t index) const {
    auto at = loads_.find({kind, index});
    return at == loads_.end() ? nullptr : &at->second;
  }

private:
  std::map<std::pair<role, uint32_t>, instance_load> loads_;
};

} // namespace perigee
