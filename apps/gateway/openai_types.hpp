// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/gateway/api_error.hpp"
#include "apps/gateway/chat_template.hpp"
#include "kernels/stream.hpp"
#include "transport/base/block_key.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace perigee::gateway {

/// Which of OpenAI's two completion endpoints a request came to.
enum class api_kind : uint8_t { completion, chat };

/// Bounds of what one request may ask for.
struct request_limits {
  uint32_t choices_max = 128; ///< prompts × n
  uint32_t stops_max = 4;
  uint32_t stop_bytes_max = 1024;
};

/// A prompt of /v1/completions: text, or token ids as they are (not yet checked against a vocabulary).
using prompt_input = std::variant<std::string, std::vector<token_id>>;

/// One completion or chat request, every field checked for type and range. What depends on the model (its name,
/// lengths, ids) is checked by `prepare`.
struct api_request {
  api_kind kind = api_kind::completion;
  std::string model;
  std::vector<prompt_input> prompts;  ///< completion only; at least one
  std::vector<chat_message> messages; ///< chat only; at least one
  uint32_t choices = 1;
  std::optional<uint32_t> max_tokens;
  bool stream = false;
  bool include_usage = false;
  bool ignore_eos = false;
  std::vector<std::string> stop;
  std::optional<uint64_t> seed;
  kernels::sampling_params sampling; ///< all but `seed` and `stop_ids`
  std::string user;
};

/// Reads a body of /v1/completions or /v1/chat/completions. Every field is either understood or an error that names it.
std::variant<api_request, api_error> parse_api_request(api_kind kind, std::string_view body,
                                                       const request_limits& limits);

} // namespace perigee::gateway
