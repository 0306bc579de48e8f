// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/plan/plan_search.hpp"
#include "tests/support/testing.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

using namespace perigee::sim;

namespace {

/// A made-up cluster whose capacity is that of its weaker side; prompts need three nodes where answers need one.
double capacity_of(const plan_choice& it) {
  auto side = std::min(it.prefills / 3.0, it.decodes * 1.0);
  auto policy = it.policy == 1 ? 1.3 : 1.0;
  auto admission = it.admission == 1 ? 1.1 : 1.0;
  auto cache = it.cache == 0 ? 1.0 : 1.2; // no cache above the second brings anything
  return side * policy * admission * cache;
}

double share_at(const plan_choice& it, double speed) {
  return speed <= capacity_of(it) ? 1 : 0.95 - 0.1 * (speed - capacity_of(it));
}

plan_options four_ways(std::vector<uint32_t> nodes) {
  auto options = plan_options{};
  options.nodes = std::move(nodes);
  options.policies = options.admissions = 2;
  options.caches = 3;
  return options;
}

} // namespace

TEST_CASE("plan_search: finds the split, the policies and the smallest cache that carry the most") {
  auto points = search_plan(four_ways({4, 8, 16}), share_at);
  REQUIRE_EQ(points.size(), 3);
  auto splits = std::map<uint32_t, uint32_t>{{4, 3}, {8, 6}, {16, 12}};
  for (const auto& point : points) {
    CAPTURE(point.nodes);
    CHECK_EQ(point.choice.prefills, splits[point.nodes]);
    CHECK_EQ(point.choice.prefills + point.choice.decodes, point.nodes);
    CHECK_EQ(point.choice.policy, 1);
    CHECK_EQ(point.choice.admission, 1);
    CHECK_EQ(point.choice.cache, 1);
    auto truth = capacity_of(point.choice);
    CHECK(point.capacity <= truth);
    CHECK(point.capacity * 1.05 > truth);
    CHECK(point.effective >= 0.95);
  }
}

TEST_CASE("plan_search: measures nothing twice, and a fraction of what there is") {
  auto seen = std::set<std::pair<plan_choice, double>>{};
  search_plan(four_ways({16}), [&](const plan_choice& it, double speed) {
    CHECK(seen.emplace(it, speed).second);
    return share_at(it, speed);
  });
  // 15 splits, 2 * 2 * 3 alternatives, and 142 speeds.
  CHECK(seen.size() < 60);
}

TEST_CASE("plan_search: what keeps the target at no speed has no capacity") {
  auto points = search_plan(four_ways({2}), [](const plan_choice&, double) { return 0.5; });
  CHECK_EQ(points.at(0).capacity, 0);
  CHECK_EQ(points.at(0).effective, 0);
}

TEST_CASE("plan_search: a choice without bounds is given the fastest speed") {
  auto options = four_ways({2});
  options.fastest = 4;
  auto points = search_plan(options, [](const plan_choice&, double) { return 1.0; });
  CHECK(points.at(0).capacity <= 4);
  CHECK(points.at(0).capacity * options.step > 4);
  CHECK_EQ(points.at(0).choice.cache, 0);
}
