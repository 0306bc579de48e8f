// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/sim/plan/plan_search.hpp"

#include <boost/json/object.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace perigee::cli {

/// What a plan was made from, and what was found.
struct plan_outcome {
  std::vector<sim::plan_point> points;
  std::vector<std::string> policies; ///< the alternatives that the points' indices mean
  std::vector<std::string> admissions;
  std::vector<uint64_t> cache_tokens;
  double target = 0.95;
  double requests_per_second = 0; ///< of the traffic at 1x
  uint64_t requests = 0;
  uint64_t runs = 0;
};

/// The frontier as a table: one line for each number of nodes.
std::string render_plan(const plan_outcome& outcome);

/// The same as an object with the list `frontier`.
boost::json::object plan_json(const plan_outcome& outcome);

} // namespace perigee::cli
