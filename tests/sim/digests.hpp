// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace perigee::sim {

/// A run whose digest must come out the same in every process, build and machine.
struct digest_scenario {
  std::string name; ///< without blanks
  std::function<std::string()> digest;
};

/// Scenarios with faults and replays of drawn traffic, twenty in all.
const std::vector<digest_scenario>& digest_scenarios();

/// "name digest", one line each.
std::string digest_lines();

} // namespace perigee::sim
