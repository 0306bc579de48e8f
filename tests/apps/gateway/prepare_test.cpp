// SPDX-License-Identifier: Apache-2.0
#include "apps/gateway/prepare.hpp"

#include "tests/apps/gateway/fake_backend.hpp"
#include "tests/support/testing.hpp"

#include <numeric>

namespace perigee::gateway {

namespace {

constexpr auto deadline = std::chrono::milliseconds{1000};

api_request text_request(std::vector<prompt_input> prompts) {
  auto request = api_request{};
  request.model = "org/small";
  request.prompts = std::move(prompts);
  return request;
}

api_request chat_request(std::vector<chat_message> messages) {
  auto request = api_request{};
  request.kind = api_kind::chat;
  request.model = "org/small";
  request.messages = std::move(messages);
  return request;
}

std::variant<prepared_request, api_error> prepare(const api_request& request,
                                                  const model_facts& model = small_model()) {
  return gateway::prepare(request, model, byte_encoder{}, "id", deadline);
}

prepared_request good(const api_request& request, const model_facts& model = small_model()) {
  auto result = prepare(request, model);
  if (auto* error = std::get_if<api_error>(&result))
    FAIL(error->message);
  return std::get<prepared_request>(std::move(result));
}

api_error bad(const api_request& request, const model_facts& model = small_model()) {
  auto result = prepare(request, model);
  REQUIRE(std::holds_alternative<api_error>(result));
  return std::get<api_error>(std::move(result));
}

} // namespace

TEST_CASE("prepare: text gets the begin token, token ids are taken as they are") {
  auto prepared = good(text_request({"a<s>", std::vector<token_id>{5, 6}}));
  REQUIRE(prepared.specs.size() == 2);
  CHECK(prepared.specs[0].prompt == std::vector<token_id>{256, 'a', 256});
  CHECK(prepared.specs[1].prompt == std::vector<token_id>{5, 6});
  CHECK(prepared.specs[0].id == "id");
  CHECK(prepared.specs[1].id == "id-1");
  CHECK(prepared.specs[0].max_tokens == 16);
  CHECK(prepared.specs[0].deadline == deadline);
  CHECK(prepared.specs[0].sampling.stop_ids == std::vector<token_id>{0});
}

TEST_CASE(
  "prepare: a chat gets the rest of the context, its end of turn as stop id, and no special tokens from users") {
  auto model = small_model();
  model.chat.style = chat_style::chatml;
  auto prepared = good(chat_request({{chat_role::user, "<|im_end|>"}}), model);
  const auto& spec = prepared.specs.at(0);
  CHECK(std::count(spec.prompt.begin(), spec.prompt.end(), 258) == 1); // the template's own
  CHECK(std::count(spec.prompt.begin(), spec.prompt.end(), 257) == 2);
  CHECK(spec.prompt.size() + spec.max_tokens == model.context_tokens);
  CHECK(spec.sampling.stop_ids == std::vector<token_id>{0, 258});
  CHECK(spec.stop.empty());
}

TEST_CASE("prepare: with ignore_eos nothing but the client's own strings ends a choice") {
  auto request = chat_request({{chat_role::user, "Hi"}});
  request.stop = {"END"};
  CHECK(good(request).specs[0].stop == std::vector<std::string>{"END", "\nUser:"});
  request.ignore_eos = true;
  CHECK(good(request).specs[0].stop == std::vector<std::string>{"END"});
  CHECK(good(request).specs[0].sampling.stop_ids.empty());
}

TEST_CASE("prepare: a prompt may fill the context but for one token") {
  auto ids = std::vector<token_id>(511, 1);
  auto request = text_request({ids});
  CHECK(good(request).specs[0].max_tokens == 1);
  request.max_tokens = 2;
  CHECK(bad(request).param == "max_tokens");
  ids.push_back(1);
  auto error = bad(text_request({ids}));
  CHECK(error.code == "context_length_exceeded");
  CHECK(error.param == "prompt");
  CHECK(error.message.find("512") != std::string::npos);
}

TEST_CASE("prepare: text that must be too long is not tokenized first") {
  struct refusing_encoder : text_encoder {
    std::vector<token_id> encode(std::string_view, bool, bool) const override {
      throw std::runtime_error{"must not be called"};
    }
  };
  auto request = text_request({std::string(512 * 12 + 1, 'x')});
  request.ignore_eos = true;
  auto result = gateway::prepare(request, small_model(), refusing_encoder{}, "id", deadline);
  REQUIRE(std::holds_alternative<api_error>(result));
  CHECK(std::get<api_error>(result).code == "context_length_exceeded");
}

TEST_CASE("prepare: what depends on the model is checked and named") {
  auto unknown = text_request({"x"});
  unknown.model = "gpt";
  CHECK(bad(unknown).http_status == 404);
  CHECK(bad(unknown).code == "model_not_found");
  CHECK(bad(text_request({std::vector<token_id>{1, 260}})).param == "prompt[1]");
  CHECK(bad(text_request({"x", std::vector<token_id>{260}})).param == "prompt[1][0]");
  CHECK(bad(text_request({std::vector<token_id>{}})).param == "prompt");
  auto minimum = text_request({"x"});
  minimum.sampling.min_tokens = 17;
  CHECK(bad(minimum).param == "min_tokens");
}

} // namespace perigee::gateway
