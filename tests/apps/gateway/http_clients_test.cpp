// SPDX-License-Identifier: Apache-2.0
// How the gateway stands clients that come in crowds, dawdle, leave or do not read.
#include "tests/apps/gateway/gateway_fixture.hpp"

#include <malloc.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <thread>

namespace perigee::gateway {

namespace {

constexpr auto completions = "/v1/completions";

completion_plan held(const completion_spec&) {
  return {.tokens = 2, .hold_end = true};
}

completion_plan endless(const completion_spec&) {
  return {.piece = std::string(1000, 'x'), .tokens = UINT32_MAX, .pace = std::chrono::microseconds{200}};
}

/// Few bytes fit between the gateway and a client that does not read.
server_options narrow() {
  auto options = server_options{};
  options.send_buffer_bytes = 8 << 10;
  options.service.unread_bytes_max = 256 << 10;
  return options;
}

constexpr auto small_receive_buffer = 4 << 10;

/// What is allocated now; memory that earlier tests left behind does not blur it.
size_t heap_bytes() {
  auto info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

double cpu_seconds() {
  auto now = timespec{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

} // namespace

TEST_CASE("http clients: one connection serves many requests, a stream among them") {
  auto gateway = gateway_fixture{};
  auto client = gateway.client();
  for (int i = 0; i < 20; ++i) {
    CHECK(client.get("/live").status == 200);
    CHECK(client.post(completions, completion_json(R"(,"stream":true)")).body.ends_with("data: [DONE]\n\n"));
    CHECK(client.post(completions, completion_json()).status == 200);
  }
}

TEST_CASE("http clients: requests sent ahead are answered in order") {
  auto gateway = gateway_fixture{[](const completion_spec& spec) {
    return completion_plan{.piece = std::string(1, static_cast<char>(spec.prompt.back())), .tokens = 2};
  }};
  auto client = gateway.client();
  auto body = [](char letter, bool stream) {
    return std::string{R"({"model":"org/small","prompt":")"} + letter + R"(","stream":)"
           + (stream ? "true}" : "false}");
  };
  client.send(request_text("POST", completions, body('a', true)) + request_text("GET", "/live")
              + request_text("POST", completions, body('b', false)) + request_text("GET", "/nowhere")
              + request_text("POST", completions, body('c', true)));
  CHECK(streamed_text(client.read_response().body) == "aa");
  CHECK(client.read_response().body == R"({"status":"live"})");
  CHECK(has(client.read_response().body, R"("text":"bb")"));
  CHECK(client.read_response().status == 404);
  CHECK(streamed_text(client.read_response().body) == "cc");
}

TEST_CASE("http clients: thousands of requests sent ahead are all answered, and wait bounded") {
  auto gateway = gateway_fixture{};
  auto client = gateway.client();
  constexpr auto count = 3000; // far more bytes than may wait
  auto writer = std::thread{[&client] {
    auto text = request_text("GET", "/live");
    for (int i = 0; i < count; ++i)
      client.send(text);
  }};
  auto answered = 0;
  for (int i = 0; i < count; ++i)
    answered += client.read_response().status == 200;
  writer.join();
  CHECK(answered == count);
}

TEST_CASE("http clients: one that shuts its own side still gets what it asked for") {
  auto gateway = gateway_fixture{};
  auto client = gateway.client();
  client.send(request_text("GET", "/live") + request_text("GET", "/metrics") + request_text("GET", "/health"));
  client.end_sending();
  CHECK(client.read_response().status == 200);
  CHECK(client.read_response().status == 200);
  CHECK(client.read_response().status == 200);
  CHECK(client.at_end());
}

TEST_CASE("http clients: HTTP/1.0 gets a stream that ends with the connection") {
  auto gateway = gateway_fixture{};
  auto client = gateway.client();
  auto body = completion_json(R"(,"stream":true)");
  client.send("POST /v1/completions HTTP/1.0\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  auto response = client.read_response();
  CHECK(response.headers.count("transfer-encoding") == 0);
  CHECK(response.headers["connection"] == "close");
  CHECK(response.body.ends_with("data: [DONE]\n\n"));
}

TEST_CASE("http clients: 100-continue is answered before the body comes") {
  auto gateway = gateway_fixture{};
  auto client = gateway.client();
  auto body = completion_json();
  client.send("POST /v1/completions HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: "
              + std::to_string(body.size()) + "\r\n\r\n");
  CHECK(client.read_response().status == 100);
  client.send(body);
  CHECK(client.read_response().status == 200);
}

TEST_CASE("http clients: one that leaves in the middle of a stream is cancelled") {
  auto gateway = gateway_fixture{endless};
  auto client = gateway.client();
  client.send(request_text("POST", completions, completion_json(R"(,"stream":true)")));
  client.read_until("\"text\":\"xxx");
  client.disconnect();
  CHECK(eventually([&] { return gateway.target.cancels() == std::vector{cancel_reason::client_gone}; }));
  CHECK(gateway.target.running() == 0);
  CHECK(
    gateway.metrics_have("perigee:http_requests_ended_early_total{model_name=\"org/small\",reason=\"client_gone\"} 1"));
  CHECK(gateway.metrics_have("perigee:http_requests_in_flight 0"));
}

TEST_CASE("http clients: one that leaves before its whole answer is cancelled, whatever it sent ahead") {
  auto gateway = gateway_fixture{held};
  for (auto ahead : {std::string{}, request_text("GET", "/live"), std::string(10'000, 'x')}) {
    auto before = gateway.target.cancels().size();
    auto client = gateway.client();
    client.send(request_text("POST", completions, completion_json()) + ahead);
    REQUIRE(eventually([&] { return gateway.target.running() == 1; }));
    client.disconnect();
    CHECK(eventually([&] { return gateway.target.cancels().size() == before + 1; }));
    CHECK(gateway.target.cancels().back() == cancel_reason::client_gone);
  }
}

TEST_CASE("http clients: a stream pauses while its client does not read, and goes on when it does") {
  auto gateway = gateway_fixture{
    [](const completion_spec&) {
      return completion_plan{.piece = std::string(1000, 'x'), .tokens = 2000, .pace = std::chrono::microseconds{20}};
    },
    narrow()};
  auto client = gateway.client(small_receive_buffer);
  client.send(request_text("POST", completions, completion_json(R"(,"stream":true)")));
  REQUIRE(eventually([&] { return gateway.target.pauses() == std::vector{true}; }));
  CHECK(gateway.metrics_have("perigee:http_streams_paused 1"));
  CHECK(gateway.client().post(completions, R"({"model":"nobody","prompt":"x"})").status == 404); // others are served
  auto response = client.read_response();
  CHECK(streamed_text(response.body).size() == 2'000'000);
  auto pauses = gateway.target.pauses();
  CHECK(pauses.size() >= 2);
  CHECK_FALSE(pauses.back());
  CHECK(gateway.target.cancels().empty());
  CHECK(gateway.metrics_have("perigee:http_streams_paused 0"));
}

TEST_CASE("http clients: one that does not read for too long is cancelled, and little was kept for it") {
  auto options = narrow();
  options.service.slow_client_timeout = std::chrono::milliseconds{100};
  auto gateway = gateway_fixture{endless, options};
  auto client = gateway.client(small_receive_buffer);
  client.send(request_text("POST", completions, completion_json(R"(,"stream":true)")));
  CHECK(eventually([&] { return gateway.target.cancels() == std::vector{cancel_reason::slow_client}; }));
  // unread bytes, a margin for what was under way, and the buffers of both sockets
  CHECK(gateway.target.pieces_sent() * 1000 < 2 * options.service.unread_bytes_max + (64 << 10));
  CHECK(
    gateway.metrics_have("perigee:http_requests_ended_early_total{model_name=\"org/small\",reason=\"slow_client\"} 1"));
}

TEST_CASE("http clients: what a backend sends in spite of a pause waits, and arrives whole") {
  struct deaf_backend : fake_backend {
    using fake_backend::fake_backend;
    void set_paused(request_handle, bool paused) override {
      pauses += paused;
    }
    std::atomic<int> pauses = 0;
  };
  auto options = narrow();
  options.port = 0;
  options.service.unread_bytes_max = 16 << 10;
  auto model = small_model();
  auto encoder = byte_encoder{};
  auto registry = metric_registry{};
  auto target = deaf_backend{
    [](const completion_spec&) { return completion_plan{.piece = std::string(1000, 'x'), .tokens = 3000}; }};
  auto server = http_server{options, {model, encoder, target, registry}};
  auto client = http_client{server.port(), small_receive_buffer};
  client.send(request_text("POST", completions, completion_json(R"(,"stream":true)")));
  REQUIRE(eventually([&] { return target.running() == 0 && target.pauses > 0; })); // all sent, hardly anything read
  CHECK(streamed_text(client.read_response().body).size() == 3'000'000);
}

TEST_CASE("http clients: one that does not fetch a finished answer is let go") {
  auto options = narrow();
  options.service.slow_client_timeout = std::chrono::milliseconds{100};
  auto gateway = gateway_fixture{
    [](const completion_spec&) { return completion_plan{.piece = std::string(1'000'000, 'x'), .tokens = 5}; }, options};
  auto client = gateway.client(small_receive_buffer);
  client.send(request_text("POST", completions, completion_json()));
  CHECK(eventually([&] {
    return gateway.metrics_have(
      "perigee:http_requests_ended_early_total{model_name=\"org/small\",reason=\"slow_client\"} 1");
  }));
}

TEST_CASE("http clients: a request that dribbles in is answered 408, an idle connection is closed") {
  auto options = server_options{};
  options.read_timeout = std::chrono::milliseconds{60};
  options.idle_timeout = std::chrono::milliseconds{60};
  auto gateway = gateway_fixture{held, options};
  for (auto start : {"GET /live HT", "POST /v1/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n{"}) {
    auto slow = gateway.client();
    slow.send(start);
    auto response = slow.read_response();
    CHECK(response.status == 408);
    CHECK(has(response.body, "did not arrive completely in time"));
    CHECK(slow.at_end());
  }
  auto idle = gateway.client();
  CHECK(idle.at_end());
}

TEST_CASE("http clients: requests over the cap are 429, connections over theirs 503") {
  auto options = server_options{};
  options.service.requests_in_flight_max = 2;
  options.connections_max = 4;
  auto gateway = gateway_fixture{held, options};
  auto first = gateway.client(), second = gateway.client(), third = gateway.client(), fourth = gateway.client();
  for (auto* client : {&first, &second})
    client->send(request_text("POST", completions, completion_json()));
  REQUIRE(eventually([&] { return gateway.target.running() == 2; }));
  auto refused = third.post(completions, completion_json());
  CHECK(refused.status == 429);
  CHECK(refused.headers["retry-after"] == "1");
  CHECK(fourth.get("/live").status == 200);
  auto fifth = gateway.client();
  auto turned_away = fifth.read_response();
  CHECK(turned_away.status == 503);
  CHECK(has(turned_away.body, "4 clients are connected"));
  CHECK(fifth.at_end());
  gateway.target.release();
  CHECK(first.read_response().status == 200);
  CHECK(second.read_response().status == 200);
  CHECK(third.post(completions, completion_json()).status == 200);
}

TEST_CASE("http clients: while draining, streams end in peace and new requests are 503") {
  auto options = server_options{};
  options.idle_timeout = std::chrono::milliseconds{2000};
  auto gateway = gateway_fixture{held, options};
  auto streaming = gateway.client();
  auto waiting = gateway.client();
  CHECK(waiting.get("/health").status == 200);
  streaming.send(request_text("POST", completions, completion_json(R"(,"stream":true)")));
  streaming.read_until("\"text\":\"x\"");
  gateway.server.begin_drain();
  CHECK(has(waiting.get("/health").body, "draining"));
  auto late = gateway.client();
  auto refused = late.post(completions, completion_json());
  CHECK(refused.status == 503);
  CHECK(refused.headers.count("retry-after") == 1);
  CHECK(late.at_end());
  CHECK_FALSE(gateway.server.wait_drained(std::chrono::milliseconds{1}));
  gateway.target.release();
  streaming.read_until("data: [DONE]\n\n");
  CHECK(gateway.server.wait_drained(std::chrono::seconds{10}));
  CHECK(gateway.target.cancels().empty());
}

TEST_CASE("http clients: a server that stops cancels what runs, and late events find nobody") {
  auto model = small_model();
  auto encoder = byte_encoder{};
  auto registry = metric_registry{};
  struct stubborn_backend : fake_backend {
    void cancel(request_handle handle, cancel_reason reason) override {
      if (reason != cancel_reason::abandoned)
        fake_backend::cancel(handle, reason); // goes on after the server's end
      else
        ++abandoned;
    }
    using fake_backend::fake_backend;
    size_t abandoned = 0;
  };
  auto stubborn = stubborn_backend{endless};
  auto options = server_options{};
  options.port = 0;
  auto server = std::make_unique<http_server>(options, gateway_parts{model, encoder, stubborn, registry});
  auto client = http_client{server->port()};
  client.send(request_text("POST", completions, completion_json(R"(,"stream":true)")));
  client.read_until("\"text\":\"xxx");
  server.reset();
  CHECK(stubborn.abandoned == 1);
  auto sent = stubborn.pieces_sent();
  CHECK(eventually([&] { return stubborn.pieces_sent() > sent + 10; }));
}

TEST_CASE("http clients: a server can be stopped at any moment, its timers expiring or not") {
  auto options = server_options{};
  options.idle_timeout = std::chrono::milliseconds{40}; // it looks at its clients every 10 ms
  for (int i = 0; i < 40; ++i) {
    auto stop_at = clock::now() + std::chrono::milliseconds{10} + i * std::chrono::microseconds{50};
    auto gateway = gateway_fixture{[](const completion_spec&) { return completion_plan{}; }, options};
    while (clock::now() < stop_at)
      CHECK(gateway.client().get("/live").status == 200);
  }
}

TEST_CASE("http clients: an address in use is refused with its name") {
  auto gateway = gateway_fixture{};
  auto options = server_options{};
  options.port = gateway.server.port();
  CHECK_THROWS_WITH_AS(http_server(options, {gateway.model, gateway.encoder, gateway.target, gateway.registry}),
                       doctest::Contains(("127.0.0.1:" + std::to_string(options.port)).c_str()), failure);
}

TEST_CASE("http clients: a thousand idle connections cost little memory and no time") {
  constexpr auto count = size_t{1000};
  auto limit = rlimit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_max < 2 * count + 100)
    return testing::skip("the hard limit on open files is below 2,100");
  limit.rlim_cur = std::max<rlim_t>(limit.rlim_cur, 2 * count + 100);
  setrlimit(RLIMIT_NOFILE, &limit);
  auto gateway = gateway_fixture{};
  gateway.client().post(completions, completion_json()); // whatever is allocated once
  auto before = heap_bytes();
  auto clients = std::vector<http_client>{};
  clients.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    clients.push_back(gateway.client());
    CHECK(clients.back().get("/live").status == 200); // idle after a request, not only before
  }
  auto each = (heap_bytes() - before) / count;
  MESSAGE("heap bytes per idle connection, client included: " << each);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) // their allocators do not count
  CHECK(each > 0);
  CHECK(each <= 64 << 10);
#endif
  auto cpu_before = cpu_seconds();
  auto idle_until = clock::now() + std::chrono::milliseconds{1100};
  std::this_thread::sleep_until(idle_until); // the time an idle server uses is what is measured
  auto share = (cpu_seconds() - cpu_before) / 1.1;
  MESSAGE("share of a core with " << count << " idle connections: " << share);
  CHECK(share < 0.01);
  for (auto& client : clients)
    CHECK(client.get("/live").status == 200);
}

} // namespace perigee::gateway
