// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/gateway_part.hpp"
#include "apps/perigee/peer_feed.hpp"
#include "tests/apps/gateway/http_client.hpp"
#include "tests/apps/recording_sink.hpp"
#include "tests/apps/scripted_actors.hpp"
#include "tests/support/testing.hpp"

#include <boost/json/parse.hpp>
#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/exit_reason.hpp>
#include <caf/response_promise.hpp>
#include <caf/send.hpp>

#include <future>

using namespace perigee;
using namespace perigee::cli;
using perigee::gateway::cancel_reason;
using perigee::gateway::eventually;
using perigee::gateway::http_client;
using perigee::gateway::recording_sink;

using lines = std::vector<std::string>;

namespace {

/// One thread suffices, and is what a loaded machine gives.
struct config : caf::actor_system_config {
  config() {
    set("caf.scheduler.max-threads", 1);
  }
};

/// An actor system with scripted session, Conductor and transport actors.
struct cluster_fixture {
  explicit cluster_fixture(script::opener on_open = {}) : told(std::make_shared<script>(std::move(on_open))) {
    told->cluster.conductor = {role::conductor, 0, 0, 3};
    told->cluster.members = {up(role::prefill), up(role::decode)};
  }
  ~cluster_fixture() {
    for (const auto& actor : {session, conductor, transport})
      caf::anon_send_exit(actor, caf::exit_reason::user_shutdown);
  }

  static member_status up(role kind) {
    auto member = member_status{};
    member.who = {kind, 0, 1, 9};
    member.alive = true;
    return member;
  }

  peer_up conductor_up(uint64_t incarnation = 3) const {
    return {{role::conductor, 0, 0, incarnation}, conductor};
  }
  peer_up transport_up() const {
    return {{role::transport, 1, 1, 9}, transport};
  }

  config options;
  caf::actor_system system{options};
  std::shared_ptr<script> told;
  caf::actor session = system.spawn(scripted_session, told);
  caf::actor conductor = system.spawn(scripted_conductor, told);
  caf::actor transport = system.spawn(scripted_transport, told);
};

/// The edge alone, with quick looks at the cluster.
struct edge_fixture : cluster_fixture {
  using cluster_fixture::cluster_fixture;

  gateway::request_handle submit(std::shared_ptr<recording_sink> sink) {
    auto spec = gateway::completion_spec{};
    spec.id = "cmpl-" + std::to_string(++submitted);
    spec.prompt = {1, 2, 3};
    return edge.submit(std::move(spec), std::move(sink));
  }

  std::string cluster_json() {
    auto promise = std::make_shared<std::promise<std::string>>();
    edge.cluster_json([promise](std::string text) { promise->set_value(std::move(text)); });
    return promise->get_future().get();
  }

  std::optional<std::string> request_json(const std::string& id) {
    auto promise = std::make_shared<std::promise<std::optional<std::string>>>();
    edge.request_json(id, [promise](std::optional<std::string> text) { promise->set_value(std::move(text)); });
    return promise->get_future().get();
  }

  static edge_options quick(const caf::actor& session) {
    auto options = edge_options{};
    options.session = caf::actor_cast<session_actor>(session);
    options.model = "tiny";
    options.nodes = {"a", "b"};
    options.refresh = std::chrono::milliseconds{2};
    return options;
  }

  uint32_t submitted = 0;
  gateway_edge edge{system, quick(session)};
};

/// Says "Hi" in two tokens, the second of which reused nothing.
void say_hi(caf::event_based_actor*, const caf::actor& edge, const open_request& request) {
  caf::anon_send(edge, client_opened{request.client, {70, request.client}});
  caf::anon_send(edge, client_text{request.client, 0, "H", {10}});
  caf::anon_send(edge, client_text{request.client, 0, "i", {11}});
  caf::anon_send(edge, client_finish{request.client, 0, finish_reason::stop});
  caf::anon_send(edge, client_end{request.client, static_cast<uint32_t>(request.prompt.size()), 2, 2});
}

void only_open(caf::event_based_actor*, const caf::actor& edge, const open_request& request) {
  caf::anon_send(edge, client_opened{request.client, {70, request.client}});
}

decision_record placed_at(uint64_t number) {
  auto made = decision_record{};
  made.id = {{70, number}, 0};
  made.decision.what = verdict::place;
  return made;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE("gateway_edge: the session's answers reach the sink in order") {
  auto cluster = edge_fixture{say_hi};
  auto sink = std::make_shared<recording_sink>();
  cluster.submit(sink);
  CHECK(eventually([&] { return sink->calls().size() == 4; }));
  CHECK(sink->calls() == lines{"text 0 1 H", "text 0 2 i", "finish 0 stop", "end 3 2 2"});
  CHECK(cluster.told->read(&script::opened).front().prompt == std::vector<token_id>{1, 2, 3});
}

TEST_CASE("gateway_edge: a paused request gets nothing until it goes on") {
  auto cluster = edge_fixture{only_open};
  auto sink = std::make_shared<recording_sink>();
  auto other = std::make_shared<recording_sink>();
  auto handle = cluster.submit(sink);
  auto other_handle = cluster.submit(other);
  REQUIRE(eventually([&] { return cluster.told->read(&script::opened).size() == 2; }));
  cluster.edge.set_paused(handle, true);
  // An answer to this question means that the edge has seen the pause.
  cluster.cluster_json();
  auto edge = cluster.told->read(&script::edge);
  caf::anon_send(edge, client_text{handle, 0, "a", {1}});
  caf::anon_send(edge, client_text{handle, 0, "b", {2}});
  caf::anon_send(edge, client_text{other_handle, 0, "x", {1}});
  CHECK(eventually([&] { return other->calls().size() == 1; }));
  CHECK(sink->calls().empty());
  cluster.edge.set_paused(handle, false);
  CHECK(eventually([&] { return sink->calls() == lines{"text 0 2 ab"}; }));
}

TEST_CASE("gateway_edge: a cancelled request is closed at the session with the reason") {
  auto cluster = edge_fixture{only_open};
  auto gone = cluster.submit(std::make_shared<recording_sink>());
  auto slow = cluster.submit(std::make_shared<recording_sink>());
  cluster.edge.cancel(gone, cancel_reason::client_gone);
  cluster.edge.cancel(slow, cancel_reason::slow_client);
  cluster.edge.cancel(slow, cancel_reason::slow_client);
  CHECK(eventually([&] { return cluster.told->read(&script::closed).size() >= 2; }));
  auto closed = cluster.told->read(&script::closed);
  REQUIRE(closed.size() == 2);
  CHECK(closed[0].client == gone);
  CHECK(closed[0].reason == ec::cancelled);
  CHECK(closed[1].client == slow);
  CHECK(closed[1].reason == ec::slow_client);
}

TEST_CASE("gateway_edge: requests fail when the session ends, earlier and later ones") {
  auto cluster = edge_fixture{only_open};
  auto before = std::make_shared<recording_sink>();
  cluster.submit(before);
  REQUIRE(eventually([&] { return !cluster.told->read(&script::opened).empty(); }));
  caf::anon_send_exit(cluster.session, caf::exit_reason::kill);
  CHECK(eventually([&] { return before->calls().size() == 1; }));
  auto after = std::make_shared<recording_sink>();
  cluster.submit(after);
  CHECK(eventually([&] { return after->calls().size() == 1; }));
  for (const auto& sink : {before, after})
    CHECK(has(sink->calls().front(), "error 503"));
  CHECK(cluster.edge.health().detail == "The session does not answer.");
}

TEST_CASE("gateway_edge: health follows the Conductor as it comes, goes and is replaced") {
  auto cluster = edge_fixture{};
  auto ready = [&] { return cluster.edge.health().ready; };
  auto says = [&](const std::string& part) { return has(cluster.edge.health().detail, part); };
  CHECK(!ready());
  CHECK(eventually([&] { return says("no Conductor"); }));
  cluster.edge.on_peer(cluster.conductor_up());
  CHECK(eventually(ready));
  cluster.told->change([](script& it) { it.cluster.members.pop_back(); });
  CHECK(eventually([&] { return says("No decode instance is up"); }));
  cluster.told->change([](script& it) { it.cluster.members.push_back(cluster_fixture::up(role::decode)); });
  CHECK(eventually(ready));
  // The successor is heard of first: the end of the old one changes nothing.
  cluster.edge.on_peer(cluster.conductor_up(4));
  cluster.edge.on_peer({cluster.conductor_up(3).who, {}});
  CHECK(eventually(ready));
  cluster.edge.on_peer({cluster.conductor_up(4).who, {}});
  CHECK(eventually([&] { return says("no Conductor"); }));
}

TEST_CASE("gateway_edge: a Conductor that ended without a word is not a healthy one") {
  auto cluster = edge_fixture{};
  cluster.edge.on_peer(cluster.conductor_up());
  CHECK(eventually([&] { return cluster.edge.health().ready; }));
  caf::anon_send_exit(cluster.conductor, caf::exit_reason::kill);
  CHECK(eventually([&] { return !cluster.edge.health().ready; }));
}

TEST_CASE("gateway_edge: every node's transfers are counted, until the node is gone") {
  auto cluster = edge_fixture{};
  auto metrics = [&] {
    auto promise = std::make_shared<std::promise<std::vector<gateway::metric_family>>>();
    cluster.edge.collect([promise](auto families) { promise->set_value(std::move(families)); });
    return gateway::metric_registry{}.render(promise->get_future().get());
  };
  // No waiting: a question is answered with what is true when it is asked.
  cluster.told->change([](script& it) { it.transport.provider_bytes = 4096; });
  cluster.edge.on_peer(cluster.transport_up());
  CHECK(has(metrics(), R"(kv_transfer_bytes_total{path="fabric",node="b"} 4096)"));
  cluster.told->change([](script& it) { it.transport.provider_bytes = 5000; });
  CHECK(has(metrics(), R"(kv_transfer_bytes_total{path="fabric",node="b"} 5000)"));
  cluster.edge.on_peer({cluster.transport_up().who, {}});
  CHECK(!has(metrics(), "kv_transfer_bytes_total"));
}

TEST_CASE("gateway_edge: who is silent is given up, and the others' answers are told") {
  auto cluster = cluster_fixture{};
  auto silent = cluster.system.spawn([](caf::event_based_actor* self) -> caf::behavior {
    auto promises = std::make_shared<std::vector<caf::response_promise>>();
    return {[self, promises](atom::get_status) {
      promises->push_back(self->make_response_promise());
      return promises->back();
    }};
  });
  auto options = edge_fixture::quick(cluster.session);
  options.query_timeout = std::chrono::milliseconds{400};
  cluster.told->change([](script& it) { it.session.requests = 31; });
  {
    auto edge = gateway_edge{cluster.system, options};
    edge.on_peer({cluster.conductor_up().who, silent});
    edge.on_peer({cluster.transport_up().who, silent});
    auto promise = std::make_shared<std::promise<std::string>>();
    edge.cluster_json([promise](std::string text) { promise->set_value(std::move(text)); });
    auto text = promise->get_future().get();
    CHECK(has(text, R"("requests":31)"));
    CHECK(!has(text, "conductor"));
    CHECK(!edge.health().ready);
  }
  caf::anon_send_exit(silent, caf::exit_reason::kill);
}

TEST_CASE("gateway_edge: decisions are looked up by the client's id, and no more once they are final") {
  auto cluster = edge_fixture{say_hi};
  cluster.told->change([](script& it) { it.decisions = {placed_at(1)}; });
  cluster.edge.on_peer(cluster.conductor_up());
  auto sink = std::make_shared<recording_sink>();
  cluster.submit(sink);
  cluster.submit(sink);
  REQUIRE(eventually([&] { return sink->calls().size() == 8; }));
  auto first = cluster.request_json("cmpl-1");
  REQUIRE(first);
  CHECK(has(*first, R"("ticket":"70-1/0")"));
  CHECK(has(*first, R"("cached_tokens":2)"));
  CHECK(!cluster.request_json("cmpl-2"));
  CHECK(!cluster.request_json("cmpl-3"));
  auto asked = cluster.told->read(&script::decision_queries);
  CHECK(asked == 2);
  auto all = cluster.cluster_json();
  CHECK(has(all, R"("request":"cmpl-1")"));
  CHECK(!has(all, R"("request":"cmpl-2")"));
  CHECK(cluster.told->read(&script::decision_queries) == asked + 1);
}

TEST_CASE("gateway_edge: the cluster is described without a Conductor, too") {
  auto cluster = edge_fixture{say_hi};
  auto sink = std::make_shared<recording_sink>();
  cluster.submit(sink);
  REQUIRE(eventually([&] { return sink->calls().size() == 4; }));
  auto text = cluster.cluster_json();
  CHECK(has(text, R"("model":"tiny")"));
  CHECK(has(text, R"("decisions":[])"));
}

TEST_CASE("peer_feed: what came early is told first, and a closed feed keeps nothing") {
  auto feed = peer_feed{};
  auto seen = std::vector<uint64_t>{};
  auto news = [](uint64_t incarnation) { return peer_up{{role::conductor, 0, 0, incarnation}, {}}; };
  auto listen = [&](const peer_up& it) { seen.push_back(it.who.incarnation); };
  feed.push(news(1));
  feed.push(news(2));
  feed.connect(listen);
  feed.push(news(3));
  CHECK(seen == std::vector<uint64_t>{1, 2, 3});
  feed.close();
  feed.push(news(4));
  feed.connect(listen);
  CHECK(seen.size() == 3);
}

namespace {

/// The whole gateway in front of the scripted session.
struct part_fixture : cluster_fixture {
  explicit part_fixture(script::opener on_open)
    : cluster_fixture(std::move(on_open)), part(part_options()) {
    part.open(system, caf::actor_cast<session_actor>(session));
    part.on_peer(conductor_up());
  }

  static gateway_part_options part_options() {
    auto options = gateway_part_options{};
    options.model = kernels::model::load(testing::source_dir() / "tests" / "data" / "models" / "gqa-f32");
    options.served_name = "tiny";
    options.nodes = {"a", "b"};
    options.http.port = 0;
    return options;
  }

  http_client client() {
    return http_client{part.port()};
  }

  gateway_part part;
};

const auto ask_hi = std::string{R"({"model":"tiny","prompt":"Hi","max_tokens":5)"};

} // namespace

TEST_CASE("gateway_part: a completion over HTTP, whole and streamed, and its record") {
  auto cluster = part_fixture{say_hi};
  cluster.told->change([](script& it) { it.decisions = {placed_at(1)}; });
  auto whole = cluster.client().post("/v1/completions", ask_hi + "}");
  CHECK(whole.status == 200);
  auto body = boost::json::parse(whole.body);
  CHECK(body.at("choices").at(0).at("text").as_string() == "Hi");
  CHECK(body.at("choices").at(0).at("finish_reason").as_string() == "stop");
  CHECK(body.at("usage").at("prompt_tokens_details").at("cached_tokens").to_number<int>() == 2);
  auto opened = cluster.told->read(&script::opened);
  REQUIRE(opened.size() == 1);
  CHECK(opened[0].prompt.front() == 1);
  CHECK(opened[0].max_tokens == 5);
  CHECK(opened[0].sampling.stop_ids == std::vector<token_id>{2});
  auto id = std::string{body.at("id").as_string()};
  CHECK(has(cluster.client().get("/cluster/requests/" + id).body, R"("ticket":"70-1/0")"));
  CHECK(cluster.client().get("/cluster/requests/nobody").status == 404);

  auto streamed = cluster.client().post("/v1/completions", ask_hi + R"(,"stream":true})");
  CHECK(streamed.status == 200);
  CHECK(has(streamed.body, R"("text":"H")"));
  CHECK(has(streamed.body, "data: [DONE]"));
}

TEST_CASE("gateway_part: it can be reached while its node loads the model, and serves once there is a session") {
  auto cluster = cluster_fixture{say_hi};
  auto part = gateway_part{part_fixture::part_options()};
  auto client = [&] { return http_client{part.port()}; };
  CHECK(has(client().get("/health").body, R"("status":"loading","detail":"The node is starting.","loaded_percent":0)"));
  part.set_loading("packing, 42 %", 42);
  CHECK(has(client().get("/health").body, R"("detail":"packing, 42 %","loaded_percent":42)"));
  CHECK(client().post("/v1/completions", ask_hi + "}").status == 503);
  part.open(cluster.system, caf::actor_cast<session_actor>(cluster.session));
  part.on_peer(cluster.conductor_up());
  CHECK(eventually([&] { return client().get("/health").status == 200; }));
  CHECK(client().post("/v1/completions", ask_hi + "}").status == 200);
}

TEST_CASE("gateway_part: health, cluster and metrics over HTTP") {
  auto cluster = part_fixture{say_hi};
  CHECK(eventually([&] { return cluster.client().get("/health").status == 200; }));
  CHECK(has(cluster.client().get("/cluster").body, R"("prefill-0")"));
  auto metrics = cluster.client().get("/metrics");
  CHECK(has(metrics.body, R"(perigee:member_up{model_name="tiny",instance="decode-0",node="b"} 1)"));
  cluster.part.on_peer({cluster.conductor_up().who, {}});
  CHECK(eventually([&] { return cluster.client().get("/health").status == 503; }));
}

TEST_CASE("gateway_part: a refusal by the cluster is a 429 that says when to come back") {
  auto cluster = part_fixture{[](caf::event_based_actor*, const caf::actor& edge, const open_request& request) {
    caf::anon_send(edge, client_error{request.client, ec::overloaded, "all slots are taken", 2'000'000'000});
  }};
  auto answer = cluster.client().post("/v1/completions", ask_hi + "}");
  CHECK(answer.status == 429);
  CHECK(answer.headers["retry-after"] == "2");
  CHECK(has(answer.body, "all slots are taken"));
}

TEST_CASE("gateway_part: a client that leaves closes its request") {
  auto cluster = part_fixture{only_open};
  {
    auto client = cluster.client();
    client.send(gateway::request_text("POST", "/v1/completions", ask_hi + R"(,"stream":true})"));
    REQUIRE(eventually([&] { return !cluster.told->read(&script::opened).empty(); }));
  }
  CHECK(eventually([&] { return !cluster.told->read(&script::closed).empty(); }));
  CHECK(cluster.told->read(&script::closed).front().reason == ec::cancelled);
}

TEST_CASE("gateway_part: a drain waits for the stream in flight and refuses what comes") {
  auto cluster = part_fixture{only_open};
  auto client = cluster.client();
  client.send(gateway::request_text("POST", "/v1/completions", ask_hi + "}"));
  REQUIRE(eventually([&] { return !cluster.told->read(&script::opened).empty(); }));
  cluster.part.begin_drain();
  CHECK(eventually([&] { return cluster.client().post("/v1/completions", ask_hi + "}").status == 503; }));
  CHECK(!cluster.part.wait_drained(std::chrono::milliseconds{0}));
  auto request = cluster.told->read(&script::opened).front();
  say_hi(nullptr, cluster.told->read(&script::edge), request);
  CHECK(client.read_response().status == 200);
  CHECK(cluster.part.wait_drained(std::chrono::seconds{10}));
}
