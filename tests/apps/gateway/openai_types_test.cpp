// SPDX-License-Identifier: Apache-2.0
#include "apps/gateway/openai_types.hpp"

#include "apps/gateway/json_fields.hpp"
#include "apps/gateway/responses.hpp"
#include "tests/support/testing.hpp"

#include <algorithm>
#include <random>

namespace perigee::gateway {

namespace {

api_request parsed(api_kind kind, const std::string& body) {
  CAPTURE(body);
  auto result = parse_api_request(kind, body, {});
  if (auto* error = std::get_if<api_error>(&result))
    FAIL(error->message);
  return std::get<api_request>(std::move(result));
}

api_error refused(api_kind kind, const std::string& body) {
  CAPTURE(body);
  auto result = parse_api_request(kind, body, {});
  REQUIRE(std::holds_alternative<api_error>(result));
  return std::get<api_error>(std::move(result));
}

/// A completion request with `fields` added.
std::string with(const std::string& fields) {
  return R"({"model":"m","prompt":"p",)" + fields + "}";
}

std::string chat_with(const std::string& messages) {
  return R"({"model":"m","messages":)" + messages + "}";
}

} // namespace

TEST_CASE("openai_types: every supported field of a completion is read") {
  auto request =
    parsed(api_kind::completion,
           R"({"model":"m","prompt":"Once","max_tokens":7,"n":2,"stream":true,"stream_options":{"include_usage":true},
      "stop":["a","b"],"seed":-1,"temperature":0,"top_p":0.5,"top_k":40,"repetition_penalty":1.5,"presence_penalty":-2,
      "frequency_penalty":2.0,"min_tokens":3,"ignore_eos":true,"echo":false,"user":"u","logprobs":null,"best_of":2})");
  CHECK(request.model == "m");
  CHECK(std::get<std::string>(request.prompts.at(0)) == "Once");
  CHECK(request.max_tokens == 7u);
  CHECK(request.choices == 2);
  CHECK(request.stream);
  CHECK(request.include_usage);
  CHECK(request.stop == std::vector<std::string>{"a", "b"});
  CHECK(request.seed == UINT64_MAX);
  CHECK(request.ignore_eos);
  CHECK(request.user == "u");
  auto expected = kernels::sampling_params{};
  expected.temperature = 0;
  expected.top_p = 0.5f;
  expected.top_k = 40;
  expected.repetition_penalty = 1.5f;
  expected.presence_penalty = -2;
  expected.frequency_penalty = 2;
  expected.min_tokens = 3;
  CHECK(request.sampling == expected);
}

TEST_CASE("openai_types: what is left out or null has OpenAI's defaults") {
  auto request = parsed(api_kind::completion,
                        with(R"("n":null,"stop":null,"temperature":null,"stream":null,"stream_options":null)"));
  CHECK(request.choices == 1);
  CHECK_FALSE(request.max_tokens);
  CHECK_FALSE(request.stream);
  CHECK_FALSE(request.seed);
  CHECK(request.stop.empty());
  CHECK(request.sampling == kernels::sampling_params{});
}

TEST_CASE("openai_types: a prompt is text, token ids, or several of either") {
  CHECK(std::get<std::vector<token_id>>(parsed(api_kind::completion, R"({"model":"m","prompt":[1,2,3]})").prompts.at(0))
        == std::vector<token_id>{1, 2, 3});
  CHECK(parsed(api_kind::completion, R"({"model":"m","prompt":["a","b"]})").prompts.size() == 2);
  CHECK(parsed(api_kind::completion, R"({"model":"m","prompt":[[1],[2,3]],"n":64})").prompts.size() == 2);
  CHECK(refused(api_kind::completion, R"({"model":"m","prompt":["a","b"],"n":65})").param == "n");
  for (auto [prompt, param] :
       std::initializer_list<std::pair<const char*, const char*>>{{"[]", "prompt"},
                                                                  {"{}", "prompt"},
                                                                  {"1", "prompt"},
                                                                  {"null", "prompt"},
                                                                  {"[1,\"a\"]", "prompt[1]"},
                                                                  {"[\"a\",1]", "prompt[1]"},
                                                                  {"[-1]", "prompt[0]"},
                                                                  {"[1.5]", "prompt[0]"},
                                                                  {"[99999999999]", "prompt[0]"},
                                                                  {"[[1],[true]]", "prompt[1][0]"},
                                                                  {"[null]", "prompt[0]"}})
    CHECK(refused(api_kind::completion, std::string{R"({"model":"m","prompt":)"} + prompt + "}").param == param);
}

TEST_CASE("openai_types: chat messages take text or text parts from three roles") {
  auto request = parsed(api_kind::chat, chat_with(R"([{"role":"system","content":"S"},{"role":"user","content":[
      {"type":"text","text":"a"},{"type":"text","text":"b"}]},{"role":"assistant","content":"","refusal":null,"tool_calls":null}])"));
  CHECK(request.messages
        == std::vector<chat_message>{{chat_role::system, "S"}, {chat_role::user, "a\nb"}, {chat_role::assistant, ""}});
  for (auto [messages, param] : std::initializer_list<std::pair<const char*, const char*>>{
         {"[]", "messages"},
         {"{}", "messages"},
         {"[1]", "messages[0]"},
         {R"([{"role":"user"}])", "messages[0].content"},
         {R"([{"content":"x"}])", "messages[0].role"},
         {R"([{"role":"tool","content":"x"}])", "messages[0].role"},
         {R"([{"role":1,"content":"x"}])", "messages[0].role"},
         {R"([{"role":"user","content":1}])", "messages[0].content"},
         {R"([{"role":"user","content":[1]}])", "messages[0].content[0]"},
         {R"([{"role":"user","content":[{"type":"image_url","image_url":{}}]}])", "messages[0].content[0].type"},
         {R"([{"role":"user","content":[{"type":"text"}]}])", "messages[0].content[0].text"},
         {R"([{"role":"user","content":[{"type":"text","text":"a","x":1}]}])", "messages[0].content[0].x"},
         {R"([{"role":"user","content":"a"},{"role":"user","content":"a","name":"bob"}])", "messages[1].name"},
         {R"([{"role":"user","content":"a","nmae":"bob"}])", "messages[0].nmae"}})
    CHECK(refused(api_kind::chat, chat_with(messages)).param == param);
}

TEST_CASE("openai_types: a field out of range, of the wrong type, unsupported or unknown is named") {
  for (auto [fields, param] : std::initializer_list<std::pair<const char*, const char*>>{
         {R"("max_tokens":0)", "max_tokens"},
         {R"("max_tokens":-1)", "max_tokens"},
         {R"("max_tokens":1.5)", "max_tokens"},
         {R"("max_tokens":"8")", "max_tokens"},
         {R"("max_tokens":99999999999)", "max_tokens"},
         {R"("max_tokens":99999999999999999999)", "max_tokens"},
         {R"("max_tokens":3,"max_completion_tokens":4)", "max_completion_tokens"},
         {R"("n":0)", "n"},
         {R"("n":129)", "n"},
         {R"("n":true)", "n"},
         {R"("temperature":-0.1)", "temperature"},
         {R"("temperature":2.1)", "temperature"},
         {R"("temperature":1e400)", "temperature"},
         {R"("temperature":"hot")", "temperature"},
         {R"("top_p":0)", "top_p"},
         {R"("top_p":1.01)", "top_p"},
         {R"("top_k":-2)", "top_k"},
         {R"("repetition_penalty":0)", "repetition_penalty"},
         {R"("presence_penalty":2.5)", "presence_penalty"},
         {R"("frequency_penalty":-2.5)", "frequency_penalty"},
         {R"("min_tokens":-1)", "min_tokens"},
         {R"("stop":["a","b","c","d","e"])", "stop"},
         {R"("stop":"")", "stop"},
         {R"("stop":["a",1])", "stop[1]"},
         {R"("stop":7)", "stop"},
         {R"("seed":1.5)", "seed"},
         {R"("seed":"x")", "seed"},
         {R"("stream":1)", "stream"},
         {R"("stream_options":{"include_usage":true})", "stream_options"},
         {R"("stream":true,"stream_options":{"include_usage":1})", "stream_options.include_usage"},
         {R"("stream":true,"stream_options":{"chunks":1})", "stream_options.chunks"},
         {R"("stream":true,"stream_options":[])", "stream_options"},
         {R"("ignore_eos":"yes")", "ignore_eos"},
         {R"("user":1)", "user"},
         {R"("echo":true)", "echo"},
         {R"("logprobs":0)", "logprobs"},
         {R"("best_of":3)", "best_of"},
         {R"("suffix":"x")", "suffix"},
         {R"("logit_bias":{"1":2})", "logit_bias"},
         {R"("tools":[])", "tools"},
         {R"("response_format":{"type":"json_object"})", "response_format"},
         {R"("messages":[])", "messages"},
         {R"("tempreature":1)", "tempreature"},
         {R"("frobnicate":null)", "frobnicate"}}) {
    CAPTURE(fields);
    auto error = refused(api_kind::completion, with(fields));
    CHECK(error.http_status == 400);
    CHECK(error.param == param);
    CHECK(error.type == "invalid_request_error");
    CHECK(error.message.find(param) != std::string::npos);
  }
  CHECK(refused(api_kind::completion, R"({"prompt":"x"})").param == "model");
  CHECK(refused(api_kind::completion, R"({"model":1,"prompt":"x"})").param == "model");
}

TEST_CASE("openai_types: bodies that are no JSON object are refused with the place of the fault") {
  auto code_of = [](const std::string& body) { return refused(api_kind::completion, body).code; };
  for (auto body : {"", "{", "nonsense", "[1]", "\"x\"", "null", R"({"model":NaN})", R"({"temperature":Infinity})",
                    "{} x", R"({"a":1,})", R"({"model":"\ud800"})", "{\"a\":\"\x01\"}"})
    CHECK(code_of(body) == "invalid_json");
  CHECK(code_of("{\"model\":\"\xff\"}") == "invalid_utf8");
  CHECK(code_of(with("\"x\":" + std::string(40, '[') + std::string(40, ']'))) == "json_too_deep");
  CHECK(code_of(std::string(100'000, '[')) == "json_too_deep");
  CHECK(refused(api_kind::completion, with("\"x\":" + std::string(31, '[') + std::string(31, ']'))).param == "x");
  CHECK(refused(api_kind::completion, "{\"model\":\"\xff\"}").message.find("byte 10") != std::string::npos);
}

TEST_CASE("openai_types: a very long field name is cut in the message") {
  auto error = refused(api_kind::completion, with("\"" + std::string(100'000, 'y') + "\":1"));
  CHECK(error.message.size() < 200);
  CHECK(error.param.size() < 100);
}

TEST_CASE("json_fields: the first character that is not UTF-8 is found") {
  for (auto good : {"", "plain", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"})
    CHECK_FALSE(invalid_utf8_at(good));
  CHECK(invalid_utf8_at("abc\xff") == 3u);
  CHECK(invalid_utf8_at("\xc3\xa9\xed\xa0\x80") == 2u); // a surrogate
  CHECK(invalid_utf8_at("ab\xe2\x82") == 2u);           // half a character
}

TEST_CASE("api_error: what clients wrote is shown short and printable") {
  CHECK(shown("a\nb") == "\"a b\"");
  CHECK(shown("\xff") == "\"\xef\xbf\xbd\"");
  CHECK(clipped(std::string(64, 'x')) == std::string(64, 'x'));
  CHECK(clipped(std::string(63, 'x') + "\xc3\xa9") == std::string(63, 'x') + "...");
}

TEST_CASE("openai_types: random damage to a request never does worse than a 4xx that names something") {
  const auto originals = std::vector<std::pair<api_kind, std::string>>{
    {api_kind::completion,
     R"({"model":"m","prompt":["a","bé\n"],"max_tokens":7,"n":2,"stream":true,"stream_options":{"include_usage":)"
     R"(true},"stop":["a","b"],"seed":-1,"temperature":0.25,"top_p":0.5,"top_k":40,"logprobs":null})"},
    {api_kind::chat,
     R"({"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],"max_tokens":3,"user":"u"})"}};
  const auto alphabet = std::string{"{}[]\",:0123456789.-+eEtrufalsn\\ \x01\x7f\x80\xc3\xff"};
  auto accepted = 0, refusals = 0;
  for (uint64_t seed = 0; seed < std::max<uint64_t>(testing::seeds(20'000), 1'000); ++seed) {
    auto random = std::mt19937_64{seed};
    auto [kind, body] = originals[random() % originals.size()];
    for (auto changes = 1 + random() % 4; changes > 0 && !body.empty(); --changes) {
      auto at = random() % body.size();
      switch (random() % 4) {
      case 0: body[at] = alphabet[random() % alphabet.size()]; break;
      case 1: body.erase(at, 1 + random() % 8); break;
      case 2: body.insert(at, 1, alphabet[random() % alphabet.size()]); break;
      case 3: body.insert(at, body.substr(random() % body.size(), random() % 16)); break;
      }
    }
    auto result = parse_api_request(kind, body, {});
    if (auto* error = std::get_if<api_error>(&result)) {
      ++refusals;
      CAPTURE(body);
      CHECK(error->http_status == 400);
      CHECK_FALSE(error->message.empty());
      CHECK((error->code == "invalid_json" || error->code == "invalid_utf8" || error->code == "json_too_deep"
             || error->code == "unknown_parameter" || !error->param.empty()));
      CHECK_FALSE(invalid_utf8_at(error_response(*error).body));
    } else {
      ++accepted;
    }
  }
  CHECK(accepted > 0);
  CHECK(refusals > 0);
}

} // namespace perigee::gateway
