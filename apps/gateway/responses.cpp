// SPDX-License-Identifier: Apache-2.0
#include "apps/gateway/responses.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <fmt/format.h>

#include <optional>
#include <vector>

namespace perigee::gateway {

namespace {

namespace json = boost::json;

std::string_view name_of(finish_reason reason) noexcept {
  return reason == finish_reason::stop ? "stop" : "length";
}

json::object usage_object(const usage_counts& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", json::object{{"cached_tokens", usage.cached_tokens}}}};
}

/// {"id":...,"object":...,"created":...,"model":..., without the brace at the end, for objects written many times.
std::string common_part(const answer_identity& identity, std::string_view object) {
  return fmt::format(R"({{"id":{},"object":"{}","created":{},"model":{})", json::serialize(identity.id), object,
                     identity.created, json::serialize(identity.model));
}

class body_writer : public answer_writer {
public:
  explicit body_writer(answer_identity identity)
    : identity_(std::move(identity)), texts_(identity_.choices), reasons_(identity_.choices) {}

  std::string open() override {
    return {};
  }

  std::string text(uint32_t choice, std::string_view text) override {
    texts_[choice] += text;
    return {};
  }

  std::string finish(uint32_t choice, finish_reason reason) override {
    reasons_[choice] = reason;
    return {};
  }

  std::string close(const usage_counts& usage) override {
    auto chat = identity_.kind == api_kind::chat;
    auto choices = json::array{};
    for (uint32_t i = 0; i < identity_.choices; ++i) {
      auto choice = json::object{{"index", i}};
      if (chat)
        choice["message"] = json::object{{"role", "assistant"}, {"content", texts_[i]}};
      else
        choice["text"] = texts_[i];
      choice["logprobs"] = nullptr;
      choice["finish_reason"] = reasons_[i] ? json::value(name_of(*reasons_[i])) : json::value(nullptr);
      choices.push_back(std::move(choice));
    }
    return fmt::format(R"({},"choices":{},"usage":{}}})",
                       common_part(identity_, chat ? "chat.completion" : "text_completion"), json::serialize(choices),
                       json::serialize(usage_object(usage)));
  }

private:
  answer_identity identity_;
  std::vector<std::string> texts_;
  std::vector<std::optional<finish_reason>> reasons_;
};

class stream_writer : public answer_writer {
public:
  stream_writer(answer_identity identity, bool include_usage)
    : chat_(identity.kind == api_kind::chat), choices_(identity.choices), include_usage_(include_usage),
      common_(common_part(identity, chat_ ? "chat.completion.chunk" : "text_completion")) {}

  std::string open() override {
    auto out = std::string{};
    for (uint32_t i = 0; chat_ && i < choices_; ++i)
      out += chunk(i, R"("delta":{"role":"assistant","content":""})", "null");
    return out;
  }

  std::string text(uint32_t choice, std::string_view text) override {
    auto quoted = json::serialize(text);
    return chunk(
      choice, chat_ ? fmt::format(R"("delta":{{"content":{}}})", quoted) : fmt::format(R"("text":{})", quoted), "null");
  }

  std::string finish(uint32_t choice, finish_reason reason) override {
    return chunk(choice, chat_ ? R"("delta":{})" : R"("text":"")", fmt::format("\"{}\"", name_of(reason)));
  }

  std::string close(const usage_counts& usage) override {
    auto out = std::string{};
    if (include_usage_)
      out = fmt::format("data: {},\"choices\":[],\"usage\":{}}}\n\n", common_, json::serialize(usage_object(usage)));
    return out + "data: [DONE]\n\n";
  }

private:
  std::string chunk(uint32_t choice, std::string_view content, std::string_view reason) const {
    return fmt::format("data: {},\"choices\":[{{\"index\":{},{},\"logprobs\":null,\"finish_reason\":{}}}]{}}}\n\n",
                       common_, choice, content, reason, include_usage_ ? ",\"usage\":null" : "");
  }

  bool chat_;
  uint32_t choices_;
  bool include_usage_;
  std::string common_;
};

std::string error_json(const api_error& error) {
  auto text_or_null = [](const std::string& text) { return text.empty() ? json::value(nullptr) : json::value(text); };
  return json::serialize(json::object{{"error", json::object{{"message", error.message},
                                                             {"type", error.type},
                                                             {"param", text_or_null(error.param)},
                                                             {"code", text_or_null(error.code)}}}});
}

json::object model_object(const model_facts& model) {
  return {{"id", model.id},
          {"object", "model"},
          {"created", model.created},
          {"owned_by", "perigee"},
          {"max_model_len", model.context_tokens}};
}

} // namespace

std::unique_ptr<answer_writer> make_body_writer(answer_identity identity) {
  return std::make_unique<body_writer>(std::move(identity));
}

std::unique_ptr<answer_writer> make_stream_writer(answer_identity identity, bool include_usage) {
  return std::make_unique<stream_writer>(std::move(identity), include_usage);
}

std::string render_stream_error(const api_error& error) {
  return fmt::format("data: {}\n\ndata: [DONE]\n\n", error_json(error));
}

http_response error_response(const api_error& error) {
  auto response = http_response{};
  response.status = error.http_status;
  response.body = error_json(error);
  if (error.retry_after_s)
    response.headers.emplace_back("Retry-After", std::to_string(*error.retry_after_s));
  return response;
}

std::string render_model_list(const model_facts& model) {
  return json::serialize(json::object{{"object", "list"}, {"data", json::array{model_object(model)}}});
}

std::string render_model(const model_facts& model) {
  return json::serialize(model_object(model));
}

} // namespace perigee::gateway
