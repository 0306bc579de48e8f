// SPDX-License-Identifier: Apache-2.0
#include "apps/gateway/openai_types.hpp"

#include "apps/gateway/json_fields.hpp"

#include <boost/json/array.hpp>
#include <boost/json/string.hpp>
#include <fmt/format.h>

#include <array>
#include <limits>

namespace perigee::gateway {

namespace {

namespace json = boost::json;

constexpr auto token_count_max = int64_t{std::numeric_limits<int32_t>::max()};

bool is_false(const json::value& value) {
  return value.is_bool() && !value.get_bool();
}

void read_sampling(field_reader& fields, kernels::sampling_params& sampling) {
  auto set = [](float& field, std::optional<double> value) {
    if (value)
      field = static_cast<float>(*value);
  };
  set(sampling.temperature, fields.number("temperature", 0, 2));
  set(sampling.top_p, fields.number("top_p", 0, 1, true));
  set(sampling.repetition_penalty, fields.number("repetition_penalty", 0, 10, true));
  set(sampling.presence_penalty, fields.number("presence_penalty", -2, 2));
  set(sampling.frequency_penalty, fields.number("frequency_penalty", -2, 2));
  // -1 and 0 both mean "all tokens", as clients of other servers write it
  if (auto top_k = fields.integer("top_k", -1, token_count_max))
    sampling.top_k = *top_k > 0 ? static_cast<int32_t>(*top_k) : 0;
  if (auto tokens = fields.integer("min_tokens", 0, token_count_max))
    sampling.min_tokens = static_cast<uint32_t>(*tokens);
}

void read_stop(field_reader& fields, const request_limits& limits, std::vector<std::string>& stop) {
  auto* value = fields.any("stop");
  if (value == nullptr)
    return;
  auto add = [&](const json::value& entry, const std::string& path) {
    if (!entry.is_string())
      return fields.fail(invalid_field(path, fmt::format("{} is {}; it must be a string.", path, kind_name(entry))));
    auto text = std::string{entry.get_string()};
    if (text.empty() || text.size() > limits.stop_bytes_max)
      return fields.fail(invalid_field(path, fmt::format("{} has {} bytes; it must have between 1 and {}.", path,
                                                         text.size(), limits.stop_bytes_max)));
    stop.push_back(std::move(text));
  };
  if (value->is_string())
    return add(*value, "stop");
  if (!value->is_array())
    return fields.fail(
      invalid_field("stop", fmt::format("stop is {}; it must be a string or an array of strings.", kind_name(*value))));
  const auto& entries = value->get_array();
  if (entries.size() > limits.stops_max)
    return fields.fail(invalid_field(
      "stop", fmt::format("stop has {} entries; at most {} are allowed.", entries.size(), limits.stops_max)));
  for (size_t i = 0; i < entries.size(); ++i)
    add(entries[i], fmt::format("stop[{}]", i));
}

/// `max_completion_tokens` is the newer name of `max_tokens`.
void read_max_tokens(field_reader& fields, std::optional<uint32_t>& max_tokens) {
  auto older = fields.integer("max_tokens", 1, token_count_max);
  auto newer = fields.integer("max_completion_tokens", 1, token_count_max);
  if (older && newer && *older != *newer)
    fields.fail(
      invalid_field("max_completion_tokens", fmt::format("max_completion_tokens is {} but max_tokens is {}; give one "
                                                         "of them.",
                                                         *newer, *older)));
  if (newer || older)
    max_tokens = static_cast<uint32_t>(newer ? *newer : *older);
}

void read_stream(field_reader& fields, api_request& request) {
  request.stream = fields.boolean("stream").value_or(false);
  auto* value = fields.any("stream_options");
  if (value == nullptr)
    return;
  if (!value->is_object())
    return fields.fail(
      invalid_field("stream_options", fmt::format("stream_options is {}; it must be an object.", kind_name(*value))));
  auto options = field_reader{value->get_object(), "stream_options"};
  request.include_usage = options.boolean("include_usage").value_or(false);
  if (auto error = options.finish())
    return fields.fail(std::move(*error));
  if (!request.stream)
    fields.fail(invalid_field("stream_options", "stream_options is only allowed when stream is true."));
}

/// Fields of OpenAI's API and of servers like it that perigee does not have (yet), so that the message can say so.
void refuse_unsupported(field_reader& fields, const api_request& request) {
  constexpr auto common = std::array{"logit_bias",
                                     "service_tier",
                                     "store",
                                     "metadata",
                                     "functions",
                                     "tools",
                                     "tool_choice",
                                     "min_p",
                                     "best_of",
                                     "parallel_tool_calls",
                                     "modalities",
                                     "audio",
                                     "prediction",
                                     "suffix",
                                     "function_call",
                                     "top_logprobs",
                                     "reasoning_effort",
                                     "verbosity",
                                     "web_search_options"};
  for (auto name : common) {
    if (name == std::string_view{"best_of"})
      fields.unsupported(name, [&request](const json::value& value) {
        return value.is_int64() && value.get_int64() == request.choices; // then it changes nothing
      });
    else
      fields.unsupported(name);
  }
  fields.unsupported("logprobs", is_false);
  fields.unsupported("echo", is_false);
  fields.unsupported("response_format", [](const json::value& value) {
    auto* type = value.is_object() && value.get_object().size() == 1 ? value.get_object().if_contains("type") : nullptr;
    return type != nullptr && *type == "text";
  });
}

bool read_token_ids(field_reader& fields, const json::array& ids, const std::string& path, std::vector<token_id>& out) {
  out.reserve(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    if (!ids[i].is_int64() || ids[i].get_int64() < 0 || ids[i].get_int64() > token_count_max) {
      auto place = fmt::format("{}[{}]", path, i);
      fields.fail(invalid_field(place, fmt::format("{} is not a token id (an integer, not negative).", place)));
      return false;
    }
    out.push_back(static_cast<token_id>(ids[i].get_int64()));
  }
  return true;
}

void read_prompt(field_reader& fields, std::vector<prompt_input>& prompts) {
  auto* value = fields.any("prompt");
  if (value == nullptr)
    return fields.fail(invalid_field("prompt", "prompt is missing."));
  if (value->is_string()) {
    prompts.emplace_back(std::string{value->get_string()});
    return;
  }
  if (!value->is_array() || value->get_array().empty())
    return fields.fail(invalid_field(
      "prompt", fmt::format("prompt is {}; it must be a string, an array of token ids, or an array of these.",
                            value->is_array() ? "empty" : kind_name(*value))));
  const auto& entries = value->get_array();
  if (entries[0].is_number()) {
    auto ids = std::vector<token_id>{};
    if (read_token_ids(fields, entries, "prompt", ids))
      prompts.emplace_back(std::move(ids));
    return;
  }
  for (size_t i = 0; i < entries.size(); ++i) {
    auto path = fmt::format("prompt[{}]", i);
    if (entries[i].kind() != entries[0].kind() || !(entries[i].is_string() || entries[i].is_array()))
      return fields.fail(
        invalid_field(path, fmt::format("{} is {}; the entries must be all strings or all arrays of token ids.", path,
                                        kind_name(entries[i]))));
    if (entries[i].is_string()) {
      prompts.emplace_back(std::string{entries[i].get_string()});
      continue;
    }
    auto ids = std::vector<token_id>{};
    if (!read_token_ids(fields, entries[i].get_array(), path, ids))
      return;
    prompts.emplace_back(std::move(ids));
  }
}

/// A string, or an array of {"type": "text", "text": ...}, whose texts are joined by line breaks.
std::string read_content(field_reader& fields, const std::string& path) {
  auto* value = fields.any("content");
  if (value == nullptr) {
    fields.fail(invalid_field(path, fmt::format("{} is missing.", path)));
    return {};
  }
  if (value->is_string())
    return std::string{value->get_string()};
  if (!value->is_array()) {
    fields.fail(invalid_field(
      path, fmt::format("{} is {}; it must be a string or an array of text parts.", path, kind_name(*value))));
    return {};
  }
  auto content = std::string{};
  const auto& parts = value->get_array();
  for (size_t i = 0; i < parts.size(); ++i) {
    auto place = fmt::format("{}[{}]", path, i);
    if (!parts[i].is_object()) {
      fields.fail(invalid_field(place, fmt::format("{} is {}; it must be an object.", place, kind_name(parts[i]))));
      return {};
    }
    auto part = field_reader{parts[i].get_object(), place};
    auto type = part.text("type");
    if (type != "text")
      part.fail(invalid_field(place + ".type", fmt::format("{}.type is {}; only \"text\" is supported.", place,
                                                           type ? shown(*type) : "missing")));
    auto text = part.text("text");
    if (!text)
      part.fail(invalid_field(place + ".text", fmt::format("{}.text is missing.", place)));
    if (auto error = part.finish()) {
      fields.fail(std::move(*error));
      return {};
    }
    content += i == 0 ? *text : "\n" + *text;
  }
  return content;
}

std::optional<chat_role> role_of(std::string_view name) {
  if (name == "system")
    return chat_role::system;
  if (name == "user")
    return chat_role::user;
  if (name == "assistant")
    return chat_role::assistant;
  return std::nullopt;
}

std::variant<chat_message, api_error> read_message(const json::value& value, const std::string& path) {
  if (!value.is_object())
    return invalid_field(path, fmt::format("{} is {}; it must be an object.", path, kind_name(value)));
  auto fields = field_reader{value.get_object(), path};
  // null in the messages that OpenAI's own clients send back
  for (auto name : {"name", "refusal", "audio", "annotations", "function_call", "tool_calls", "tool_call_id"})
    fields.unsupported(name);
  auto name = fields.text("role");
  auto role = role_of(name.value_or(""));
  if (!role)
    fields.fail(
      invalid_field(path + ".role", fmt::format("{}.role is {}; it must be \"system\", \"user\" or \"assistant\".",
                                                path, name ? shown(*name) : "missing")));
  auto content = read_content(fields, path + ".content");
  if (auto error = fields.finish())
    return std::move(*error);
  return chat_message{*role, std::move(content)};
}

void read_messages(field_reader& fields, std::vector<chat_message>& messages) {
  auto* value = fields.any("messages");
  if (value == nullptr)
    return fields.fail(invalid_field("messages", "messages is missing."));
  if (!value->is_array() || value->get_array().empty())
    return fields.fail(
      invalid_field("messages", fmt::format("messages is {}; it must be an array of at least one message.",
                                            value->is_array() ? "empty" : kind_name(*value))));
  const auto& entries = value->get_array();
  for (size_t i = 0; i < entries.size(); ++i) {
    auto message = read_message(entries[i], fmt::format("messages[{}]", i));
    if (auto* error = std::get_if<api_error>(&message))
      return fields.fail(std::move(*error));
    messages.push_back(std::move(std::get<chat_message>(message)));
  }
}

} // namespace

std::variant<api_request, api_error> parse_api_request(api_kind kind, std::string_view body,
                                                       const request_limits& limits) {
  auto parsed = parse_json_object(body);
  if (auto* error = std::get_if<api_error>(&parsed))
    return std::move(*error);
  auto fields = field_reader{std::get<json::object>(parsed), ""};
  auto request = api_request{};
  request.kind = kind;
  if (auto model = fields.text("model"))
    request.model = std::move(*model);
  else
    fields.fail(invalid_field("model", "model is missing; GET /v1/models lists the models here."));
  if (kind == api_kind::chat)
    read_messages(fields, request.messages);
  else
    read_prompt(fields, request.prompts);
  auto prompts = kind == api_kind::chat ? size_t{1} : request.prompts.size();
  request.choices = static_cast<uint32_t>(fields.integer("n", 1, limits.choices_max).value_or(1));
  if (prompts * request.choices > limits.choices_max)
    fields.fail(
      invalid_field("n", fmt::format("{} prompts with n = {} make {} completions; at most {} are allowed.", prompts,
                                     request.choices, prompts * request.choices, limits.choices_max)));
  read_max_tokens(fields, request.max_tokens);
  read_stream(fields, request);
  read_stop(fields, limits, request.stop);
  read_sampling(fields, request.sampling);
  request.seed = fields.bits("seed");
  request.ignore_eos = fields.boolean("ignore_eos").value_or(false);
  request.user = fields.text("user").value_or("");
  refuse_unsupported(fields, request);
  if (auto error = fields.finish())
    return std::move(*error);
  return request;
}

} // namespace perigee::gateway
