// SPDX-License-Identifier: Apache-2.0
#include "tests/apps/gateway/gateway_fixture.hpp"

namespace perigee::gateway {

namespace {

constexpr auto completions = "/v1/completions";

completion_plan three_words(const completion_spec&) {
  return {.piece = "ab ", .tokens = 3, .cached_tokens = 2};
}

} // namespace

TEST_CASE("http: a completion answers with text, reason and usage") {
  auto gateway = gateway_fixture{three_words};
  auto response = gateway.client().post(completions, completion_json(R"(,"temperature":0,"seed":7)"));
  CHECK(response.status == 200);
  CHECK(response.headers["content-type"] == "application/json");
  CHECK(has(response.body, R"("text":"ab ab ab ")"));
  CHECK(has(response.body, R"("finish_reason":"stop")"));
  CHECK(
    has(response.body,
        R"({"prompt_tokens":3,"completion_tokens":3,"total_tokens":6,"prompt_tokens_details":{"cached_tokens":2}})"));
  auto spec = gateway.target.submitted().at(0);
  CHECK(has(response.body, "\"id\":\"" + spec.id + "\""));
  CHECK(spec.prompt == std::vector<token_id>{256, 'H', 'i'});
  CHECK(spec.max_tokens == 64);
  CHECK(spec.sampling.temperature == 0);
  CHECK(spec.seed == 7u);
  CHECK(gateway.target.cancels().empty());
}

TEST_CASE("http: a stream gives the same text in events, usage where asked for, then DONE") {
  auto gateway = gateway_fixture{three_words};
  auto client = gateway.client();
  auto response =
    client.post(completions, completion_json(R"(,"stream":true,"stream_options":{"include_usage":true})"));
  CHECK(response.status == 200);
  CHECK(response.headers["content-type"] == "text/event-stream");
  CHECK(streamed_text(response.body) == "ab ab ab ");
  CHECK(has(response.body, R"("choices":[],"usage":{"prompt_tokens":3,"completion_tokens":3)"));
  CHECK(response.body.ends_with("data: [DONE]\n\n"));
  CHECK_FALSE(has(client.post(completions, completion_json(R"(,"stream":true)")).body, "usage"));
}

TEST_CASE("http: chats answer whole and streamed") {
  auto gateway = gateway_fixture{three_words};
  auto client = gateway.client();
  auto body = std::string{R"({"model":"org/small","messages":[{"role":"user","content":"Hi"}])"};
  CHECK(has(client.post("/v1/chat/completions", body + "}").body,
            R"("message":{"role":"assistant","content":"ab ab ab "})"));
  auto stream = client.post("/v1/chat/completions", body + R"(,"stream":true})").body;
  CHECK(has(stream, R"("delta":{"role":"assistant","content":""})"));
  CHECK(has(stream, R"("delta":{"content":"ab "})"));
  CHECK(has(stream, R"("delta":{},"logprobs":null,"finish_reason":"stop")"));
  auto prompt = gateway.target.submitted().at(0).prompt;
  CHECK(std::string(prompt.begin() + 1, prompt.end()) == "User: Hi\nAssistant:");
}

TEST_CASE("http: several prompts with n choices each make one answer, prompt by prompt") {
  auto gateway = gateway_fixture{[](const completion_spec& spec) {
    return completion_plan{.piece = std::string(1, static_cast<char>(spec.prompt.back())), .tokens = 2};
  }};
  auto response = gateway.client().post(completions, R"({"model":"org/small","prompt":["a","b"],"n":2})");
  CHECK(has(response.body, R"({"index":0,"text":"aa",)"));
  CHECK(has(response.body, R"({"index":1,"text":"aa",)"));
  CHECK(has(response.body, R"({"index":2,"text":"bb",)"));
  CHECK(has(response.body, R"({"index":3,"text":"bb",)"));
  CHECK(has(response.body, R"("prompt_tokens":4,"completion_tokens":8,)"));
}

TEST_CASE("http: models, health, life, records and the cluster can be read") {
  auto gateway = gateway_fixture{};
  auto client = gateway.client();
  CHECK(has(client.get("/v1/models").body, R"("id":"org/small")"));
  CHECK(client.get("/v1/models/org/small").status == 200);
  CHECK(client.get("/v1/models/gpt").status == 404);
  CHECK(client.get("/live").status == 200);
  CHECK(client.get("/health").status == 200);
  gateway.target.set_ready(false);
  auto health = client.get("/health");
  CHECK(health.status == 503);
  CHECK(health.body == R"({"status":"not_ready","detail":"no decode instance"})");
  CHECK(client.get("/cluster").body == R"({"nodes":[]})");
  CHECK(client.get("/cluster/requests/known").body == R"({"choice":"a"})");
  CHECK(client.get("/cluster/requests/other").status == 404);
}

TEST_CASE("http: while the model is being loaded health says how far it is, and nothing else is asked of the cluster") {
  auto gateway = gateway_fixture{three_words};
  auto client = gateway.client();
  gateway.target.set_loading(42);
  for (const char* path : {"/health", "/cluster", "/cluster/requests/known", "/metrics"}) {
    CAPTURE(path);
    auto answer = client.get(path);
    CHECK(answer.status == 503);
    CHECK(answer.body == R"({"status":"loading","detail":"packing","loaded_percent":42})");
  }
  CHECK(client.get("/live").status == 200);
  CHECK(client.get("/v1/models").status == 200);
  auto refused = client.post(completions, completion_json(""));
  CHECK(refused.status == 503);
  CHECK(has(refused.body, "The model is being loaded: packing"));
  CHECK(!refused.headers["retry-after"].empty());
  CHECK(gateway.target.submitted().empty());
  gateway.target.set_loading({});
  CHECK(client.post(completions, completion_json("")).status == 200);
}

TEST_CASE("http: the dashboard is one page that may ask its own gateway alone, and has every path it asks for") {
  auto gateway = gateway_fixture{};
  auto client = gateway.client();
  auto page = client.get("/");
  CHECK(page.status == 200);
  CHECK(page.headers["content-type"] == "text/html; charset=utf-8");
  CHECK(has(page.headers["content-security-policy"], "default-src 'none'"));
  CHECK(has(page.headers["content-security-policy"], "connect-src 'self'"));
  CHECK(page.body.starts_with("<!doctype html>"));
  CHECK(page.body.ends_with("</html>\n"));
  for (const auto* foreign : {"https://", "src=", "@import", "url(", "innerHTML"})
    CHECK_FALSE(has(page.body, foreign));
  for (const auto* path : {"get('/cluster')", "get('/metrics')", "get('/cluster/requests/'"})
    CHECK(has(page.body, path));
}

TEST_CASE("http: metrics show what was served, ours and the backend's") {
  auto gateway = gateway_fixture{three_words};
  auto client = gateway.client();
  client.post(completions, completion_json());
  client.post(completions, "{}");
  auto metrics = client.get("/metrics");
  CHECK(metrics.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8");
  for (auto line : {"perigee:num_requests_running{model_name=\"m\"} 2",
                    "perigee:time_to_first_token_seconds_count{model_name=\"org/small\"} 1",
                    "perigee:inter_token_latency_seconds_count{model_name=\"org/small\"} 2",
                    "perigee:request_time_per_output_token_seconds_count{model_name=\"org/small\"} 1",
                    "perigee:e2e_request_latency_seconds_count{model_name=\"org/small\"} 1",
                    "perigee:prefix_cache_hits_total{model_name=\"org/small\"} 2",
                    "perigee:http_requests_total{handler=\"/v1/completions\",status=\"200\"} 1",
                    "perigee:http_requests_total{handler=\"/v1/completions\",status=\"400\"} 1",
                    "perigee:http_requests_in_flight 0"}) {
    CAPTURE(line);
    CHECK(has(metrics.body, std::string{line} + "\n"));
  }
}

TEST_CASE("http: a silent backend costs /cluster a 504 and /metrics only its part") {
  auto options = server_options{};
  options.service.query_timeout = std::chrono::milliseconds{40};
  auto gateway = gateway_fixture{three_words, options};
  gateway.target.fall_silent();
  auto client = gateway.client();
  CHECK(client.get("/cluster").status == 504);
  auto metrics = client.get("/metrics");
  CHECK(metrics.status == 200);
  CHECK(has(metrics.body, "perigee:http_connections"));
  CHECK_FALSE(has(metrics.body, "num_requests_running"));
}

TEST_CASE("http: bad requests get a 4xx that says why, and the connection lives on") {
  auto gateway = gateway_fixture{};
  auto client = gateway.client();
  auto check = [&client](client_response response, int status, const std::string& part) {
    CAPTURE(response.body);
    CHECK(response.status == status);
    CHECK(has(response.body, part));
    CHECK(response.body.starts_with(R"({"error":{"message":)"));
  };
  check(client.post(completions, "{"), 400, "invalid_json");
  check(client.post(completions, completion_json(R"(,"logprobs":2)")), 400, R"("param":"logprobs")");
  check(client.post(completions, R"({"model":"gpt","prompt":"x"})"), 404, "model_not_found");
  check(client.post(completions, R"({"model":"org/small","prompt":")" + std::string(600, 'x') + "\"}"), 400,
        "context_length_exceeded");
  check(client.get("/nowhere"), 404, "unknown_path");
  auto wrong_method = client.get(completions);
  CHECK(wrong_method.headers["allow"] == "POST, OPTIONS");
  check(wrong_method, 405, "method_not_allowed");
  auto wrong_read = client.post("/health", "{}");
  CHECK(wrong_read.headers["allow"] == "GET, HEAD, OPTIONS");
  check(wrong_read, 405, "use GET");
  client.send("POST /v1/completions HTTP/1.1\r\nHost: h\r\nContent-Type: image/png\r\nContent-Length: 2\r\n\r\n{}");
  check(client.read_response(), 415, "image/png");
  client.send("POST /v1/completions HTTP/1.1\r\nHost: h\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}");
  check(client.read_response(), 415, "gzip");
  CHECK(client.get("/live").status == 200);
}

TEST_CASE("http: what cannot be read ends the connection after its answer") {
  auto options = server_options{};
  options.body_bytes_max = 1000;
  auto gateway = gateway_fixture{three_words, options};
  auto check = [&gateway](const std::string& bytes, int status, const std::string& part) {
    auto client = gateway.client();
    client.send(bytes);
    auto response = client.read_response();
    CAPTURE(response.body);
    CHECK(response.status == status);
    CHECK(response.body.starts_with(R"({"error":{"message":"Th)"));
    CHECK(has(response.body, part));
    CHECK(response.headers["connection"] == "close");
    CHECK(client.at_end());
  };
  const auto too_large = std::string{"The body is larger than 1000 bytes."};
  check("nonsense\r\n\r\n", 400, "not a valid HTTP/1.1 request");
  check("GET / HTTP/1.1\r\nHost: h\r\nX: " + std::string(17'000, 'x') + "\r\n\r\n", 431,
        "The request header is larger than 16384 bytes.");
  check("POST /v1/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n", 413, too_large);
  check(request_text("POST", completions, std::string(5000, ' ')), 413, too_large);
  check("POST /v1/completions HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n800\r\n"
          + std::string(2048, ' '),
        413, too_large);
}

TEST_CASE("http: HEAD has no body, OPTIONS tells the methods") {
  auto gateway = gateway_fixture{};
  auto client = gateway.client();
  client.send(request_text("HEAD", "/live"));
  auto head = client.read_response(true);
  CHECK(head.status == 200);
  CHECK(head.headers["content-length"] == "17");
  client.send(request_text("OPTIONS", completions));
  auto options = client.read_response();
  CHECK(options.status == 204);
  CHECK(options.headers["allow"] == "POST, OPTIONS");
  CHECK(client.get("/live").status == 200);
}

TEST_CASE("http: ids of the client come back, or one is made") {
  auto gateway = gateway_fixture{};
  auto client = gateway.client();
  client.send(request_text("GET", "/live", {}, "X-Request-ID: abc\r\nX-Correlation-ID: def\r\n"));
  auto response = client.read_response();
  CHECK(response.headers["x-request-id"] == "abc");
  CHECK(response.headers["x-correlation-id"] == "def");
  CHECK(client.get("/live").headers["x-request-id"].starts_with("req-"));
}

TEST_CASE("http: a refusal by the backend is 429 with Retry-After, streaming or not") {
  auto gateway = gateway_fixture{
    [](const completion_spec&) { return completion_plan{.tokens = 0, .error = overloaded("Too many wait.", 7)}; }};
  auto client = gateway.client();
  for (auto more : {"", R"(,"stream":true)"}) {
    auto response = client.post(completions, completion_json(more));
    CHECK(response.status == 429);
    CHECK(response.headers["retry-after"] == "7");
    CHECK(has(response.body, "Too many wait."));
  }
  CHECK(
    gateway.metrics_have("perigee:http_requests_ended_early_total{model_name=\"org/small\",reason=\"rejected\"} 2"));
}

TEST_CASE("http: an error after the first token ends a stream with an error event") {
  auto gateway = gateway_fixture{
    [](const completion_spec&) { return completion_plan{.tokens = 2, .error = timed_out("Too late.")}; }};
  auto client = gateway.client();
  auto response = client.post(completions, completion_json(R"(,"stream":true)"));
  CHECK(response.status == 200);
  CHECK(streamed_text(response.body) == "xx");
  CHECK(has(response.body, R"(data: {"error":{"message":"Too late.")"));
  CHECK(response.body.ends_with("data: [DONE]\n\n"));
  CHECK(client.post(completions, completion_json()).status == 504);
}

TEST_CASE("http: when one prompt of several fails the others are cancelled") {
  auto gateway = gateway_fixture{[](const completion_spec& spec) {
    auto plan = completion_plan{.tokens = 1, .hold_end = spec.prompt.back() == 'a'};
    if (spec.prompt.back() == 'b')
      plan.error = internal_error("broken");
    return plan;
  }};
  CHECK(gateway.client().post(completions, R"({"model":"org/small","prompt":["a","b"]})").status == 500);
  CHECK(gateway.target.cancels() == std::vector{cancel_reason::abandoned});
}

TEST_CASE("http: a backend that never answers costs a 504 after the deadline") {
  auto options = server_options{};
  options.service.request_timeout = std::chrono::milliseconds{50};
  auto gateway =
    gateway_fixture{[](const completion_spec&) { return completion_plan{.tokens = 0, .hold_end = true}; }, options};
  CHECK(gateway.client().post(completions, completion_json()).status == 504);
  CHECK(gateway.target.cancels() == std::vector{cancel_reason::abandoned});
}

} // namespace perigee::gateway
