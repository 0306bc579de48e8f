// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/plan_cluster.hpp"
#include "apps/perigee/plan_report.hpp"
#include "tests/support/testing.hpp"

#include <algorithm>

using namespace perigee;
using namespace perigee::cli;
using actors::node_role;

namespace {

const auto known = actors::known_policies{{"kvcache-centric"}, {"early"}, {}};

planned_cluster three_and_two() {
  auto plan = planned_cluster{};
  plan.options.prefills = 3;
  plan.options.decodes = 2;
  plan.options.evicts = eviction::reuse;
  plan.options.slo_tbt_ns = 50'000'000;
  plan.options.profile.costs.kv_bytes_token = 1024;
  plan.options.profile.cache_tokens = 4096;
  plan.options.profile.decode_tokens = 8192;
  plan.admission = "early";
  plan.model = "apps/demo/model";
  plan.hosts = {"127.0.0.1"};
  return plan;
}

} // namespace

TEST_CASE("plan_cluster: the file reads back as the cluster that was planned, without a complaint") {
  auto text = cluster_text(cluster_of(three_and_two()), "first line\nsecond line");
  CHECK(text.starts_with("# first line\n# second line\nperigee {\n"));
  auto loaded = actors::parse_cluster_config(text, "plan.conf", known);
  REQUIRE(std::holds_alternative<actors::cluster_config>(loaded));
  const auto& read = std::get<actors::cluster_config>(loaded);
  CHECK_EQ(read.count(node_role::prefill), 3);
  CHECK_EQ(read.count(node_role::shard), 3);
  CHECK_EQ(read.count(node_role::decode), 2);
  CHECK_EQ(read.nodes.size(), 5);
  CHECK_EQ(read.nodes[0].shard_memory, 4096 * 1024);
  CHECK_EQ(read.nodes[4].kv_memory, 8192 * 1024);
  CHECK_EQ(read.policy.route, "kvcache-centric");
  CHECK_EQ(read.policy.admission, "early");
  CHECK_EQ(read.policy.eviction, "reuse");
  CHECK_EQ(read.slo.tbt, std::chrono::milliseconds{50});
}

TEST_CASE("plan_cluster: nodes are spread over the hosts, and no two share a port of one") {
  auto plan = three_and_two();
  plan.hosts = {"10.0.0.1", "10.0.0.2"};
  auto config = cluster_of(plan);
  CHECK_EQ(config.nodes[0].host, "10.0.0.1");
  CHECK_EQ(config.nodes[3].host, "10.0.0.2");
  CHECK_EQ(std::ranges::count(config.nodes, "10.0.0.2", &actors::node_config::host), 2);
  CHECK(actors::check_cluster_config(config, known).empty()); // It knows about ports.
}

TEST_CASE("plan_report: one line for each number of nodes, and what carries nothing has no capacity") {
  auto outcome = plan_outcome{};
  outcome.policies = {"perigee", "central"};
  outcome.admissions = {"none"};
  outcome.cache_tokens = {1000, 3000};
  outcome.requests_per_second = 4;
  outcome.points = {{2, {1, 1, 0, 0, 0}, 0, 0}, {4, {3, 1, 1, 0, 1}, 1.5, 0.96}};
  auto text = render_plan(outcome);
  for (const auto* cell : {"1.50x", " 6.00", " 1.50 ", "96.0 %"})
    CHECK(text.find(cell) != std::string::npos);
  auto frontier = plan_json(outcome).at("frontier").as_array();
  REQUIRE_EQ(frontier.size(), 2);
  CHECK(frontier[0].at("capacity").as_double() == 0);
  CHECK(frontier[1].at("policy").as_string() == "central");
  CHECK(frontier[1].at("cache_tokens").to_number<uint64_t>() == 3000);
  CHECK(frontier[1].at("requests_per_s").as_double() == 6);
}
