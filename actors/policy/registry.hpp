// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/interfaces.hpp"

#include <caf/actor_system.hpp>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace perigee {

/// One routing policy that this binary offers.
struct policy_entry {
  std::string name;
  std::string summary;
  std::function<policy_actor(caf::actor_system&)> spawn;
};

/// All of them, by name.
const std::vector<policy_entry>& routing_policies();

/// Null if there is none of that name.
const policy_entry* find_routing_policy(std::string_view name);

} // namespace perigee
