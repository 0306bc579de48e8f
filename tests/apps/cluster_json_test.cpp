// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/cluster_json.hpp"
#include "apps/perigee/edge_actor.hpp"
#include "apps/perigee/gateway_families.hpp"
#include "apps/perigee/status_report.hpp"
#include "tests/support/testing.hpp"

#include <boost/json/parse.hpp>

using namespace perigee;
using namespace perigee::cli;

namespace {

member_status member(role kind, uint32_t node, bool alive = true) {
  auto result = member_status{};
  result.who = {kind, 0, node, 77};
  result.alive = alive;
  result.last.slots_total = 200;
  result.last.slots_free = 150;
  result.last.slots_transfer = 5;
  return result;
}

/// Gateway and Conductor on a, prefill and shard on b, decode on c, of which no name is known.
cluster_view small_view() {
  auto view = cluster_view{};
  view.model = "tiny";
  view.nodes = {"a", "b"};
  auto& cluster = view.cluster.emplace();
  cluster.conductor = {role::conductor, 0, 0, 3};
  cluster.term = 3;
  cluster.policy = "kvcache-centric";
  cluster.waiting = 4;
  cluster.placements = 12;
  cluster.members = {member(role::prefill, 1), member(role::decode, 2), member(role::shard, 1)};
  cluster.members[0].last.running = 1;
  cluster.members[0].queue_ns = 1'500'000'000;
  cluster.members[1].tokens_reserved = 640;
  cluster.members[2].blocks = 48;
  cluster.members[2].last.leases = 6;
  auto& session = view.session.emplace();
  session.requests = 9;
  session.prompt_tokens = 1000;
  session.cached_tokens = 250;
  session.conductor_known = true;
  view.transports[1].provider_bytes = 4096;
  view.transports[2].copied_bytes = 1024;
  view.transports[2].provider_bytes = 2;
  return view;
}

request_record placed_record() {
  auto record = request_record{"cmpl-7", {70, 4}, 405, 400, decision_record{}};
  auto& made = *record.decision;
  made.id = {{70, 4}, 1};
  made.at_ns = 5;
  made.query.prompt_tokens = 405;
  made.query.candidates = {{0, 25, 1000}, {1, 0, 9000}};
  made.query.decodes = {0};
  made.decision.what = verdict::place;
  made.decision.chosen = {0, 1234, 3};
  made.decision.best = {{0, 1234, 3}, {1, 9000, 0}};
  return record;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string rendered(const cluster_view& view) {
  return gateway::metric_registry{}.render(cluster_families(view));
}

} // namespace

TEST_CASE("cluster_json: perigee status shows all of it") {
  auto records = std::vector{placed_record()};
  auto text = render_cluster(boost::json::parse(cluster_json(small_view(), records)));
  CHECK(
    has(text, "model tiny; Conductor on node a (term 3, policy kvcache-centric): 4 waiting, 12 placed, 0 rejected\n"));
  CHECK(has(text, "prefill-0  b     up           1        0     25 %"));
  CHECK(has(text, "decode-0   2     up"));
  CHECK(has(text, "shard-0  b     up           25 %"));
  CHECK(has(text, "250 of 1000 prompt tokens from the cache (25 %)"));
  CHECK(has(text, "KV moved: 4098 bytes by libfabric, 1024 by copy in the process"));
  CHECK(has(text, "cmpl-7"));
  CHECK(has(text, "prefill-0"));
}

TEST_CASE("cluster_json: pools are told by state, those of shards as blocks") {
  auto root = boost::json::parse(cluster_json(small_view(), {})).as_object();
  const auto& instances = root.at("instances").as_array();
  REQUIRE(instances.size() == 2);
  auto number = [](const boost::json::value& from, const char* name) { return from.at(name).to_number<uint64_t>(); };
  CHECK(number(instances[0], "slots_total") == 200);
  CHECK(number(instances[0], "slots_free") == 150);
  CHECK(number(instances[0], "slots_transfer") == 5);
  CHECK(number(instances[0], "incarnation") == 77);
  CHECK(number(instances[1], "tokens_reserved") == 640);
  const auto& shards = root.at("shards").as_array();
  REQUIRE(shards.size() == 1);
  CHECK(number(shards[0], "blocks_total") == 200);
  CHECK(number(shards[0], "blocks_used") == 50);
  CHECK(number(shards[0], "blocks_indexed") == 48);
  CHECK(number(shards[0], "leases") == 6);
}

TEST_CASE("cluster_json: what is not known is left out") {
  auto view = cluster_view{};
  view.model = "tiny";
  auto root = boost::json::parse(cluster_json(view, {})).as_object();
  CHECK(root.at("model").as_string() == "tiny");
  for (auto part : {"conductor", "instances", "shards", "sessions", "transfer", "transfers"})
    CHECK(!root.contains(part));
  CHECK(root.at("decisions").as_array().empty());
}

TEST_CASE("cluster_json: transfers are told by node") {
  auto root = boost::json::parse(cluster_json(small_view(), {})).as_object();
  const auto& nodes = root.at("transfers").as_array();
  REQUIRE(nodes.size() == 2);
  CHECK(nodes[0].as_object().at("node").as_string() == "b");
  CHECK(nodes[0].as_object().at("provider_bytes").to_number<uint64_t>() == 4096);
  CHECK(nodes[1].as_object().at("copied_bytes").to_number<uint64_t>() == 1024);
}

TEST_CASE("decision_json: a record holds the query, the choice and what else was considered") {
  auto root = boost::json::parse(decision_json(placed_record())).as_object();
  CHECK(root.at("request").as_string() == "cmpl-7");
  CHECK(root.at("ticket").as_string() == "70-4/1");
  CHECK(root.at("cached_tokens").to_number<int>() == 400);
  const auto& query = root.at("query").as_object();
  CHECK(query.at("candidates").as_array().size() == 2);
  CHECK(query.at("decodes").as_array()[0].as_string() == "decode-0");
  const auto& decision = root.at("decision").as_object();
  CHECK(decision.at("verdict").as_string() == "place");
  CHECK(decision.at("chosen").as_object().at("prefill").as_string() == "prefill-0");
  CHECK(decision.at("best").as_array().size() == 2);

  auto refused = placed_record();
  refused.decision->decision.what = verdict::reject;
  refused.decision->decision.reason = ec::overloaded;
  auto text = decision_json(refused);
  CHECK(has(text, R"("reason":"overloaded")"));
  CHECK(has(text, R"("chosen":{)")); // where it would have gone
  refused.decision->decision.chosen.ttft_ns = 0;
  CHECK(!has(decision_json(refused), "chosen"));
  refused.decision->decision.what = verdict::hold;
  CHECK(has(decision_json(refused), R"("verdict":"hold")"));
}

TEST_CASE("cluster_families: pools, queues and bytes of every member and node") {
  auto text = rendered(small_view());
  auto line = [&](const std::string& wanted) { return has(text, wanted + '\n'); };
  CHECK(line(R"(perigee:kv_slots{model_name="tiny",instance="prefill-0",node="b",state="free"} 150)"));
  CHECK(line(R"(perigee:kv_slots{model_name="tiny",instance="shard-0",node="b",state="total"} 200)"));
  CHECK(line(R"(perigee:kv_slots{model_name="tiny",instance="decode-0",node="2",state="transfer"} 5)"));
  CHECK(line(R"(perigee:kv_cache_usage_perc{model_name="tiny",instance="decode-0",node="2"} 0.25)"));
  CHECK(line(R"(perigee:num_requests_running{model_name="tiny",instance="prefill-0",node="b"} 1)"));
  CHECK(line(R"(perigee:num_requests_waiting{model_name="tiny",instance="conductor-0",node="a"} 4)"));
  CHECK(line(R"(perigee:predicted_queue_seconds{model_name="tiny",instance="prefill-0",node="b"} 1.5)"));
  CHECK(line(R"(perigee:kv_tokens_reserved{model_name="tiny",instance="decode-0",node="2"} 640)"));
  CHECK(line(R"(perigee:prefix_index_blocks{model_name="tiny",instance="shard-0",node="b"} 48)"));
  CHECK(line(R"(perigee:shard_leases{model_name="tiny",instance="shard-0",node="b"} 6)"));
  CHECK(line(R"(perigee:placements_total{model_name="tiny"} 12)"));
  CHECK(line(R"(perigee:session_requests_total{model_name="tiny"} 9)"));
  CHECK(line(R"(perigee:kv_transfer_bytes_total{path="fabric",node="b"} 4096)"));
  CHECK(line(R"(perigee:kv_transfer_bytes_total{path="copy",node="2"} 1024)"));
  CHECK(line("# TYPE perigee:kv_transfer_bytes_total counter"));
  CHECK(!has(text, R"(perigee:kv_cache_usage_perc{model_name="tiny",instance="shard-0")"));
}

TEST_CASE("cluster_families: what is not known has no samples") {
  CHECK(rendered(cluster_view{}).empty());
}

TEST_CASE("health_of: a gateway is ready when session, Conductor, prefill and decode are") {
  CHECK(health_of(small_view()).ready);
  CHECK(health_of(small_view()).detail == "1 prefill and 1 decode instances are up.");
  auto without = [](auto change) {
    auto view = small_view();
    change(view);
    auto health = health_of(view);
    CHECK(!health.ready);
    return health.detail;
  };
  CHECK(without([](auto& view) { view.session.reset(); }) == "The session does not answer.");
  CHECK(has(without([](auto& view) { view.cluster.reset(); }), "no Conductor"));
  CHECK(has(without([](auto& view) { view.session->conductor_known = false; }), "no Conductor"));
  CHECK(without([](auto& view) { view.cluster->members[0].alive = false; }) == "No prefill instance is up.");
  CHECK(without([](auto& view) { view.cluster->members.erase(view.cluster->members.begin() + 1); })
        == "No decode instance is up.");
}
