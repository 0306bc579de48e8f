// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

namespace perigee::sim {

/// One way to set up a cluster: how its nodes are split, and which of the alternatives are taken (indices).
struct plan_choice {
  uint32_t prefills = 1;
  uint32_t decodes = 1;
  uint32_t policy = 0;
  uint32_t admission = 0;
  uint32_t cache = 0;
  friend auto operator<=>(const plan_choice&, const plan_choice&) = default;
};

struct plan_options {
  std::vector<uint32_t> nodes; ///< counts to plan for, each at least 2
  uint32_t policies = 1;       ///< how many alternatives there are of each
  uint32_t admissions = 1;
  uint32_t caches = 1;     ///< from the cheapest; a dearer one is taken only if it brings a higher speed
  double target = 0.95;    ///< the share of effective requests that counts as served
  double step = 1.05;      ///< ratio of neighbouring speeds that are tried
  double slowest = 0.0625; ///< speeds that are tried, from the recorded one's multiple
  double fastest = 64;
};

/// The share of requests that are effective with a choice at a speed. Expected to fall as the speed grows.
using plan_measure = std::function<double(const plan_choice&, double speed)>;

/// The best choice that was found for one number of nodes.
struct plan_point {
  uint32_t nodes = 0;
  plan_choice choice;
  double capacity = 0;  ///< the highest speed at which the target was kept; 0 if it was not even at the slowest
  double effective = 0; ///< the share there
};

/// The frontier of capacity against nodes, in the order of `nodes`. A choice is improved along one coordinate after the
/// other (split, policy, admission, cache) until none brings a higher speed; what cannot beat the best so far costs one
/// measurement, and none is made twice. Each number of nodes begins with the split of the one before. Pure but for
/// `measure`; the same answers give the same frontier.
std::vector<plan_point> search_plan(const plan_options& options, const plan_measure& measure);

} // namespace perigee::sim
