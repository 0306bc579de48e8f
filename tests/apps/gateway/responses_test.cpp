// SPDX-License-Identifier: Apache-2.0
#include "apps/gateway/responses.hpp"

#include "tests/apps/gateway/fake_backend.hpp"
#include "tests/support/testing.hpp"

namespace perigee::gateway {

TEST_CASE("responses: a completion is one object with its choices in order") {
  auto writer = make_body_writer({"cmpl-1", "m\"", 7, api_kind::completion, 2});
  CHECK(writer->open().empty());
  CHECK(writer->text(1, "second\n").empty());
  CHECK(writer->text(0, "first").empty());
  CHECK(writer->finish(1, finish_reason::length).empty());
  CHECK(writer->finish(0, finish_reason::stop).empty());
  CHECK(
    writer->close({3, 4, 2})
    == R"({"id":"cmpl-1","object":"text_completion","created":7,"model":"m\"","choices":[)"
       R"({"index":0,"text":"first","logprobs":null,"finish_reason":"stop"},)"
       R"({"index":1,"text":"second\n","logprobs":null,"finish_reason":"length"}],)"
       R"("usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,"prompt_tokens_details":{"cached_tokens":2}}})");
}

TEST_CASE("responses: a chat answers with a message of the assistant") {
  auto writer = make_body_writer({"c", "m", 7, api_kind::chat, 1});
  writer->text(0, "Hi");
  writer->finish(0, finish_reason::stop);
  auto body = writer->close({});
  CHECK(body.find(R"("object":"chat.completion")") != std::string::npos);
  CHECK(body.find(R"("message":{"role":"assistant","content":"Hi"})") != std::string::npos);
}

TEST_CASE("responses: a stream has one event per piece and ends with DONE") {
  auto writer = make_stream_writer({"c", "m", 7, api_kind::completion, 1}, false);
  CHECK(writer->open().empty());
  CHECK(writer->text(0, "a\"")
        == "data: {\"id\":\"c\",\"object\":\"text_completion\",\"created\":7,\"model\":\"m\",\"choices\":"
           "[{\"index\":0,\"text\":\"a\\\"\",\"logprobs\":null,\"finish_reason\":null}]}\n\n");
  CHECK(writer->finish(0, finish_reason::length).find(R"("text":"","logprobs":null,"finish_reason":"length")")
        != std::string::npos);
  CHECK(writer->close({}) == "data: [DONE]\n\n");
}

TEST_CASE("responses: a chat stream begins with the role of every choice, usage comes last and only when asked for") {
  auto writer = make_stream_writer({"c", "m", 7, api_kind::chat, 2}, true);
  auto open = writer->open();
  CHECK(open.find(R"("index":0,"delta":{"role":"assistant","content":""})") != std::string::npos);
  CHECK(open.find(R"("index":1,"delta":{"role":"assistant","content":""})") != std::string::npos);
  CHECK(writer->text(1, "x").find(
          R"("choices":[{"index":1,"delta":{"content":"x"},"logprobs":null,"finish_reason":null}],"usage":null})")
        != std::string::npos);
  CHECK(writer->close({3, 4, 2})
        == "data: "
           "{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":7,\"model\":\"m\",\"choices\":[],\"usage\":"
           "{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":7,\"prompt_tokens_details\":{\"cached_"
           "tokens\":2}}}\n\n"
           "data: [DONE]\n\n");
}

TEST_CASE("responses: errors have OpenAI's shape, in a body and in a stream") {
  auto error = overloaded("Too \"busy\".", 3);
  auto response = error_response(error);
  CHECK(response.status == 429);
  CHECK(response.headers == header_list{{"Retry-After", "3"}});
  CHECK(response.body
        == R"({"error":{"message":"Too \"busy\".","type":"rate_limit_error","param":null,"code":"overloaded"}})");
  CHECK(render_stream_error(error) == "data: " + response.body + "\n\ndata: [DONE]\n\n");
  CHECK(error_response(invalid_field("n", "bad")).body.find(R"("param":"n")") != std::string::npos);
}

TEST_CASE("responses: the model list has the model with its context") {
  CHECK(render_model_list(small_model())
        == R"({"object":"list","data":[{"id":"org/small","object":"model","created":1700000000,"owned_by":"perigee",)"
           R"("max_model_len":512}]})");
}

TEST_CASE("http_types: a head has framing, connection and what is echoed") {
  auto response = http_response{200, "text/plain", "body", {{"Retry-After", "1"}}};
  auto head = render_head(response, framing::length, true, {{"X-Request-ID", "r"}});
  CHECK(head.starts_with("HTTP/1.1 200 OK\r\nDate: "));
  CHECK(head.ends_with(
    "GMT\r\nContent-Type: text/plain\r\nContent-Length: 4\r\nConnection: keep-alive\r\nRetry-After: 1\r\n"
    "X-Request-ID: r\r\n\r\n"));
  CHECK(render_head(response, framing::chunked, false, {}).find("Transfer-Encoding: chunked\r\nConnection: close")
        != std::string::npos);
  CHECK(render_chunk(std::string(26, 'x')) == "1a\r\n" + std::string(26, 'x') + "\r\n");
}

TEST_CASE("http_types: ids are echoed only if they are fit for a header") {
  auto request = http_request{};
  CHECK(echoed_headers(request, "mine") == header_list{{"X-Request-ID", "mine"}});
  request.headers = {{"x-request-id", "a-1"}, {"X-CORRELATION-ID", "b 2"}};
  CHECK(echoed_headers(request, "mine") == header_list{{"X-Request-ID", "a-1"}, {"X-Correlation-ID", "b 2"}});
  request.headers = {{"x-request-id", std::string(257, 'a')}, {"X-Correlation-ID", "\x80"}};
  CHECK(echoed_headers(request, "mine") == header_list{{"X-Request-ID", "mine"}});
}

} // namespace perigee::gateway
