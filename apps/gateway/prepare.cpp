// SPDX-License-Identifier: Apache-2.0
#include "apps/gateway/prepare.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace perigee::gateway {

namespace {

using token_list = std::vector<token_id>;

api_error too_long(std::string_view param, std::string message) {
  auto error = invalid_field(param, message);
  error.code = "context_length_exceeded";
  return error;
}

/// Texts that must be too long are refused before the tokenizer spends time on them.
std::optional<api_error> check_size(std::string_view param, size_t bytes, const model_facts& model) {
  auto bytes_max = uint64_t{model.context_tokens} * model.token_bytes_max;
  if (model.token_bytes_max == 0 || bytes <= bytes_max)
    return std::nullopt;
  return too_long(param,
                  fmt::format("{} has {} bytes, which is more than {} tokens; the context of {} holds {} tokens.",
                              param, bytes, model.context_tokens, shown(model.id), model.context_tokens));
}

std::variant<token_list, api_error> tokens_of(const prompt_input& input, const std::string& param,
                                              const model_facts& model, const text_encoder& encoder) {
  if (const auto* text = std::get_if<std::string>(&input)) {
    if (auto error = check_size(param, text->size(), model))
      return std::move(*error);
    return encoder.encode(*text, true, true);
  }
  const auto& ids = std::get<token_list>(input);
  auto outside = std::find_if(ids.begin(), ids.end(),
                              [&model](token_id id) { return static_cast<uint32_t>(id) >= model.vocabulary; });
  if (outside == ids.end())
    return ids;
  auto place = fmt::format("{}[{}]", param, outside - ids.begin());
  return invalid_field(
    place, fmt::format("{} is {}; token ids of {} are below {}.", place, *outside, shown(model.id), model.vocabulary));
}

std::variant<token_list, api_error> tokens_of(const std::vector<chat_message>& messages, const model_facts& model,
                                              const text_encoder& encoder) {
  auto rendered = render_chat(model.chat, messages);
  if (auto* error = std::get_if<api_error>(&rendered))
    return std::move(*error);
  const auto& prompt = std::get<chat_prompt>(rendered);
  auto bytes = size_t{0};
  for (const auto& segment : prompt.segments)
    bytes += segment.text.size();
  if (auto error = check_size("messages", bytes, model))
    return std::move(*error);
  auto tokens = token_list{};
  for (const auto& segment : prompt.segments) {
    auto add_bos = prompt.add_bos && &segment == &prompt.segments.front();
    auto part = encoder.encode(segment.text, add_bos, segment.special);
    tokens.insert(tokens.end(), part.begin(), part.end());
  }
  return tokens;
}

/// The model's end ids, and the token that ends a turn where the tokenizer has it as one token.
token_list stop_ids_of(const api_request& request, const model_facts& model, const text_encoder& encoder) {
  if (request.ignore_eos)
    return {};
  auto ids = model.eos_ids;
  auto end_of_turn = model.chat.end_of_turn();
  if (request.kind == api_kind::chat && !end_of_turn.empty()) {
    auto turn_ids = encoder.encode(end_of_turn, false, true);
    if (turn_ids.size() == 1 && std::find(ids.begin(), ids.end(), turn_ids[0]) == ids.end())
      ids.push_back(turn_ids[0]);
  }
  return ids;
}

/// How many tokens each choice may have: what was asked for if it fits, or else OpenAI's defaults (16 for completions,
/// the rest of the context for chats).
std::variant<uint32_t, api_error> max_tokens_of(const api_request& request, const std::string& param,
                                                size_t prompt_tokens, const model_facts& model) {
  if (prompt_tokens == 0)
    return invalid_field(param, fmt::format("{} has no tokens; at least one is needed.", param));
  if (prompt_tokens >= model.context_tokens)
    return too_long(
      param, fmt::format("{} has {} tokens; the context of {} holds {}, of which at least one is for the completion.",
                         param, prompt_tokens, shown(model.id), model.context_tokens));
  auto room = model.context_tokens - static_cast<uint32_t>(prompt_tokens);
  auto wanted = request.max_tokens.value_or(request.kind == api_kind::chat ? room : std::min(16u, room));
  if (wanted > room)
    return too_long("max_tokens",
                    fmt::format("max_tokens is {}, but after the {} tokens of {} only {} of the {} in the context of "
                                "{} are left.",
                                wanted, prompt_tokens, param, room, model.context_tokens, shown(model.id)));
  if (request.sampling.min_tokens > wanted)
    return invalid_field("min_tokens",
                         fmt::format("min_tokens is {}, more than the {} tokens this completion may have.",
                                     request.sampling.min_tokens, wanted));
  return wanted;
}

} // namespace

std::variant<prepared_request, api_error> prepare(api_request request, const model_facts& model,
                                                  const text_encoder& encoder, const std::string& id,
                                                  std::chrono::milliseconds deadline) {
  if (request.model != model.id) {
    auto error = not_found("model_not_found", fmt::format("The model {} does not exist here; this server has {}.",
                                                          shown(request.model), shown(model.id)));
    error.param = "model";
    return error;
  }
  auto spec = completion_spec{};
  spec.choices = request.choices;
  spec.sampling = request.sampling;
  spec.sampling.stop_ids = stop_ids_of(request, model, encoder);
  spec.seed = request.seed;
  spec.stop = request.stop;
  if (auto stop = model.chat.stop_string(); stop && request.kind == api_kind::chat && !request.ignore_eos)
    spec.stop.push_back(*stop);
  spec.deadline = deadline;
  spec.user = request.user;

  auto result = prepared_request{request.kind, request.stream, request.include_usage, request.choices, {}};
  auto add = [&](std::variant<token_list, api_error> tokens, const std::string& param) -> std::optional<api_error> {
    if (auto* error = std::get_if<api_error>(&tokens))
      return std::move(*error);
    spec.prompt = std::move(std::get<token_list>(tokens));
    auto max_tokens = max_tokens_of(request, param, spec.prompt.size(), model);
    if (auto* error = std::get_if<api_error>(&max_tokens))
      return std::move(*error);
    spec.max_tokens = std::get<uint32_t>(max_tokens);
    spec.id = result.specs.empty() ? id : fmt::format("{}-{}", id, result.specs.size());
    result.specs.push_back(spec);
    return std::nullopt;
  };

  if (request.kind == api_kind::chat) {
    if (auto error = add(tokens_of(request.messages, model, encoder), "messages"))
      return std::move(*error);
    return result;
  }
  for (size_t i = 0; i < request.prompts.size(); ++i) {
    auto param = request.prompts.size() == 1 ? std::string{"prompt"} : fmt::format("prompt[{}]", i);
    if (auto error = add(tokens_of(request.prompts[i], param, model, encoder), param))
      return std::move(*error);
  }
  return result;
}

} // namespace perigee::gateway
