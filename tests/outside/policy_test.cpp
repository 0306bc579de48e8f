// SPDX-License-Identifier: Apache-2.0
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "route_warmest.hpp"

#include "actors/policy/plugin_loader.hpp"
#include "actors/sim/replay/simulation.hpp"
#include "actors/sim/trace/draw.hpp"
#include "tests/actors/policy/policy_fixture.hpp"

#include <doctest/doctest.h>

#include <cstdlib>

using namespace perigee;

namespace {

constexpr auto second = testing::policy_fixture::second;

/// Sessions of several turns, which find the prefix of their last turn again.
std::vector<sim::trace_request> conversations() {
  auto kind = sim::parse_draw("conversation:1");
  return sim::draw_trace(kind, 120, sim::default_gap_ns(kind.kind));
}

sim::simulation_result simulate(const std::string& policy, parameter_values params = {}) {
  REQUIRE_EQ(load_policy_plugin(std::getenv("POLICY_PLUGIN")), std::nullopt);
  auto wanted = sim::simulation{};
  wanted.policy = policy;
  wanted.route_params = std::move(params);
  wanted.prefills = 3;
  wanted.decodes = 2;
  return sim::simulate(conversations(), wanted);
}

} // namespace

TEST_CASE("route_warmest: the longest prefix wins unless its queue is too long") {
  auto f = testing::policy_fixture{};
  f.prefill(0);
  f.prefill(1, 4 * second);
  f.prefill(2, 6 * second);
  f.decode(0);
  auto policy = warmest::route_warmest{};
  CHECK_EQ(policy.decide(f.query({1, 5, 9}), f.view()).chosen.prefill, 1);
  policy.slack_s = 3;
  CHECK_EQ(policy.decide(f.query({1, 5, 9}), f.view()).chosen.prefill, 0);
  policy.slack_s = 10;
  CHECK_EQ(policy.decide(f.query({1, 5, 9}), f.view()).chosen.prefill, 2);
}

TEST_CASE("route_warmest: the same requests give the same digest, and every one of them ends") {
  auto first = simulate("warmest");
  auto second_run = simulate("warmest");
  CHECK_EQ(first.digest, second_run.digest);
  CHECK_EQ(first.summary.finished, first.requests.size());
  CHECK_NE(first.digest, simulate("warmest", {{"slack-s", 0}}).digest);
}

TEST_CASE("route_warmest: it finds at least as many cached tokens as the least queue does") {
  auto warm = simulate("warmest");
  auto balanced = simulate("least-seconds");
  CHECK(warm.summary.hit_tokens >= balanced.summary.hit_tokens);
  CHECK(warm.summary.hit_tokens > 0);
}
