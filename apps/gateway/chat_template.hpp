// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/gateway/api_error.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace perigee::gateway {

enum class chat_role : uint8_t { system, user, assistant };

struct chat_message {
  chat_role role = chat_role::user;
  std::string content;
  friend bool operator==(const chat_message&, const chat_message&) = default;
};

/// The forms of conversation perigee can write. Templates are programs (Jinja); these are the forms most of them
/// produce.
enum class chat_style : uint8_t {
  plain,   ///< "User: ...\nAssistant:", for models without a template or with one of another form
  chatml,  ///< <|im_start|>role ... <|im_end|>
  llama_2, ///< [INST] ... [/INST]
  llama_3, ///< <|start_header_id|>role<|end_header_id|> ... <|eot_id|>
};

std::string_view to_string(chat_style style) noexcept;

/// How conversations with one model are written.
struct chat_format {
  chat_style style = chat_style::plain;
  std::string bos; ///< the begin token's spelling; empty where the template does not write it
  std::string eos; ///< the end token's spelling; ends an assistant's turn in the Llama-2 form
  friend bool operator==(const chat_format&, const chat_format&) = default;

  /// Spelling of the special token that ends a turn of the assistant; empty where the model's own end ids are enough.
  std::string_view end_of_turn() const noexcept;
  /// A string that ends a turn where no special token does (the plain form: the next speaker's name).
  std::optional<std::string> stop_string() const;
};

/// Recognises the form by the markers in `tokenizer_config.json` (its text), or in `template_text` where a model keeps
/// the template in a file of its own. Anything unknown, absent or malformed gives the plain form.
chat_format recognise_chat_format(std::string_view tokenizer_config_json, std::string_view template_text = {});

/// A stretch of prompt. Only stretches that the template itself wrote as control tokens have `special`; what people
/// wrote never has, so that a control token spelled in a message stays text.
struct prompt_segment {
  std::string text;
  bool special = false;
  friend bool operator==(const prompt_segment&, const prompt_segment&) = default;
};

struct chat_prompt {
  std::vector<prompt_segment> segments; ///< neighbours differ in `special` or stand for tokens of their own
  bool add_bos = false;                 ///< the tokenizer is to add its begin token in front of the first segment
};

/// Writes `messages` (at least one) in `format`, up to where the assistant's answer begins. The Llama-2 form needs
/// alternating turns that begin with the user's, after at most one system message: others are an error.
std::variant<chat_prompt, api_error> render_chat(const chat_format& format, std::span<const chat_message> messages);

} // namespace perigee::gateway
