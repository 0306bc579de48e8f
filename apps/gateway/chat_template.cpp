// SPDX-License-Identifier: Apache-2.0
#include "apps/gateway/chat_template.hpp"

#include <boost/json/parse.hpp>

namespace perigee::gateway {

namespace {

namespace json = boost::json;

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

std::string_view role_name(chat_role role) noexcept {
  switch (role) {
  case chat_role::system: return "system";
  case chat_role::user: return "user";
  case chat_role::assistant: return "assistant";
  }
  return "unknown";
}

std::string_view trimmed(std::string_view text) {
  constexpr auto blanks = std::string_view{" \t\r\n\f\v"};
  auto begin = text.find_first_not_of(blanks);
  return begin == std::string_view::npos ? std::string_view{}
                                         : text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

/// Keeps text that people wrote in as few segments as possible: tokenizers treat the start of a segment specially.
class segment_writer {
public:
  void special(std::string_view text) {
    if (!text.empty())
      segments_.push_back({std::string{text}, true});
  }

  void plain(std::string_view text) {
    if (text.empty())
      return;
    if (segments_.empty() || segments_.back().special)
      segments_.push_back({});
    segments_.back().text += text;
  }

  std::vector<prompt_segment> take() {
    return std::move(segments_);
  }

private:
  std::vector<prompt_segment> segments_;
};

/// A special token in the config: a string, or an object with `content`.
std::string token_text(const json::object& config, std::string_view key) {
  auto* value = config.if_contains(key);
  if (value != nullptr && value->is_object())
    value = value->get_object().if_contains("content");
  return value != nullptr && value->is_string() ? std::string{value->get_string()} : std::string{};
}

/// The template in the config: a string, or a list of named ones of which "default" counts.
std::string template_of(const json::object& config) {
  auto* value = config.if_contains("chat_template");
  if (value == nullptr)
    return {};
  if (value->is_string())
    return std::string{value->get_string()};
  if (!value->is_array())
    return {};
  for (const auto& entry : value->get_array())
    if (entry.is_object() && token_text(entry.get_object(), "name") == "default")
      return token_text(entry.get_object(), "template");
  return {};
}

chat_style style_of(std::string_view text) {
  if (contains(text, "<|im_start|>"))
    return chat_style::chatml;
  if (contains(text, "<|start_header_id|>"))
    return chat_style::llama_3;
  if (contains(text, "[INST]"))
    return chat_style::llama_2;
  return chat_style::plain;
}

chat_prompt render_plain(std::span<const chat_message> messages) {
  auto out = segment_writer{};
  for (const auto& message : messages) {
    switch (message.role) {
    case chat_role::system: out.plain("System: "); break;
    case chat_role::user: out.plain("User: "); break;
    case chat_role::assistant: out.plain("Assistant: "); break;
    }
    out.plain(message.content);
    out.plain("\n");
  }
  out.plain("Assistant:");
  return {out.take(), true};
}

chat_prompt render_chatml(const chat_format& format, std::span<const chat_message> messages) {
  auto out = segment_writer{};
  out.special(format.bos);
  for (const auto& message : messages) {
    out.special("<|im_start|>");
    out.plain(role_name(message.role));
    out.plain("\n");
    out.plain(message.content);
    out.special("<|im_end|>");
    out.plain("\n");
  }
  out.special("<|im_start|>");
  out.plain("assistant\n");
  return {out.take(), false};
}

chat_prompt render_llama_3(const chat_format& format, std::span<const chat_message> messages) {
  auto out = segment_writer{};
  out.special(format.bos);
  auto header = [&out](std::string_view role) {
    out.special("<|start_header_id|>");
    out.plain(role);
    out.special("<|end_header_id|>");
    out.plain("\n\n");
  };
  for (const auto& message : messages) {
    header(role_name(message.role));
    out.plain(trimmed(message.content));
    out.special("<|eot_id|>");
  }
  header("assistant");
  return {out.take(), false};
}

std::variant<chat_prompt, api_error> render_llama_2(const chat_format& format, std::span<const chat_message> messages) {
  auto out = segment_writer{};
  auto system = std::string{};
  auto turns = messages;
  if (turns.front().role == chat_role::system) {
    system = "<<SYS>>\n" + turns.front().content + "\n<</SYS>>\n\n";
    turns = turns.subspan(1);
  }
  auto skipped = messages.size() - turns.size();
  for (size_t i = 0; i < turns.size(); ++i) {
    auto expected = i % 2 == 0 ? chat_role::user : chat_role::assistant;
    if (turns[i].role != expected) {
      auto param = "messages[" + std::to_string(i + skipped) + "].role";
      return invalid_field(param, param + " is " + shown(role_name(turns[i].role)) + "; this model's chat format needs "
                                    + shown(role_name(expected)) + " here (turns alternate, the user begins).");
    }
    if (expected == chat_role::user) {
      out.special(format.bos);
      out.plain("[INST] ");
      out.plain(trimmed(i == 0 ? system + turns[i].content : turns[i].content));
      out.plain(" [/INST]");
    } else {
      out.plain(" ");
      out.plain(trimmed(turns[i].content));
      out.plain(" ");
      out.special(format.eos);
    }
  }
  if (turns.size() % 2 == 0)
    return invalid_field("messages", "messages must end with the user's turn in this model's chat format.");
  return chat_prompt{out.take(), false};
}

} // namespace

std::string_view to_string(chat_style style) noexcept {
  switch (style) {
  case chat_style::plain: return "plain";
  case chat_style::chatml: return "chatml";
  case chat_style::llama_2: return "llama-2";
  case chat_style::llama_3: return "llama-3";
  }
  return "unknown";
}

std::string_view chat_format::end_of_turn() const noexcept {
  switch (style) {
  case chat_style::chatml: return "<|im_end|>";
  case chat_style::llama_3: return "<|eot_id|>";
  case chat_style::plain:
  case chat_style::llama_2: return {};
  }
  return {};
}

std::optional<std::string> chat_format::stop_string() const {
  return style == chat_style::plain ? std::optional<std::string>{"\nUser:"} : std::nullopt;
}

chat_format recognise_chat_format(std::string_view tokenizer_config_json, std::string_view template_text) {
  auto ignored = boost::system::error_code{};
  auto parsed = json::parse(tokenizer_config_json, ignored);
  auto config = parsed.is_object() ? parsed.get_object() : json::object{};
  auto text = template_text.empty() ? template_of(config) : std::string{template_text};
  auto format = chat_format{};
  format.style = style_of(text);
  format.eos = token_text(config, "eos_token");
  if (contains(text, "bos_token"))
    format.bos = token_text(config, "bos_token");
  return format;
}

std::variant<chat_prompt, api_error> render_chat(const chat_format& format, std::span<const chat_message> messages) {
  switch (format.style) {
  case chat_style::plain: return render_plain(messages);
  case chat_style::chatml: return render_chatml(format, messages);
  case chat_style::llama_3: return render_llama_3(format, messages);
  case chat_style::llama_2: return render_llama_2(format, messages);
  }
  return internal_error("unknown chat format");
}

} // namespace perigee::gateway
