// SPDX-License-Identifier: Apache-2.0
#include "actors/policy/policy_shell.hpp"
#include "actors/policy/registry.hpp"
#include "actors/policy/route_kvcache_centric.hpp"
#include "tests/support/testing.hpp"

#include <set>

using namespace perigee;

TEST_CASE("registry: every policy is found by its name, and its parameters have room around their defaults") {
  auto names = std::set<std::string>{};
  for (const auto& entry : routing_policies()) {
    CHECK(names.insert(entry.name).second);
    CHECK_EQ(find_routing_policy(entry.name), &entry);
    CHECK_FALSE(entry.summary.empty());
    for (const auto& item : entry.parameters) {
      CAPTURE(item.name);
      CHECK(item.min <= item.fallback);
      CHECK(item.fallback <= item.max);
      CHECK_FALSE(item.doc.empty());
    }
  }
  CHECK_EQ(find_routing_policy("no-such-policy"), nullptr);
}

TEST_CASE("registry: the small policies are listed, each kind with its choices") {
  for (const auto& kind : small_policies()) {
    CHECK_FALSE(kind.purpose.empty());
    CHECK_FALSE(kind.choices.empty());
  }
}

TEST_CASE("policy_parameter: values are set by name, unknown ones and wrong ones are refused by name") {
  auto policy = route_kvcache_centric{};
  set_parameters(policy, {{"threshold", 3.5}});
  CHECK_EQ(policy.threshold, 3.5);
  auto known = describe_parameters<route_kvcache_centric>();
  REQUIRE_EQ(known.size(), 1);
  CHECK_EQ(known[0].fallback, 2);
  CHECK(check_parameters(known, {{"threshold", 4}}).empty());
  auto wrong = check_parameters(known, {{"threshold", 0}, {"treshold", 4}});
  REQUIRE_EQ(wrong.size(), 2);
  CHECK_EQ(wrong[0].first, "threshold");
  CHECK(wrong[0].second.find("found 0, allowed are 1 to") == 0);
  CHECK_EQ(wrong[1].first, "treshold");
  CHECK(wrong[1].second.find("it has: threshold") != std::string::npos);
}

TEST_CASE("policy_parameter: a list of values is read, and refused where it is none") {
  CHECK_EQ(parse_parameters("a=1,b-c=2.5"), parameter_values{{"a", 1}, {"b-c", 2.5}});
  CHECK_EQ(parse_parameters(""), parameter_values{});
  for (auto text : {"a", "a=", "=1", "a=1x", "a=1,,b=2"})
    CHECK_FALSE(parse_parameters(text));
}

TEST_CASE("policy_state: a decision names the request and the version of the view") {
  auto state = policy_state<route_kvcache_centric>{};
  auto query = route_query{};
  query.placement = 42;
  CHECK_EQ(state.decide(query).placement, 42);
  CHECK_EQ(state.decide(query).view, 0);
  state.view.set({{role::prefill, 3, 0, 1}});
  state.view.erase({role::prefill, 3, 0, 2}); // Another incarnation.
  CHECK_EQ(state.decide(query).view, 1);
  CHECK(state.view.find(role::prefill, 3) != nullptr);
  state.view.erase({role::prefill, 3, 0, 1});
  CHECK_EQ(state.view.find(role::prefill, 3), nullptr);
}
