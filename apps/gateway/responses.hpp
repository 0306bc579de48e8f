// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/gateway/backend.hpp"
#include "apps/gateway/http_types.hpp"
#include "apps/gateway/openai_types.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace perigee::gateway {

/// What every object of one answer repeats.
struct answer_identity {
  std::string id;
  std::string model;
  int64_t created = 0; ///< Unix seconds
  api_kind kind = api_kind::completion;
  uint32_t choices = 1; ///< of all prompts together
};

/// Token counts of one answer, all prompts and choices together.
struct usage_counts {
  uint64_t prompt_tokens = 0;
  uint64_t completion_tokens = 0;
  uint64_t cached_tokens = 0;
};

/// Turns a request's events into bytes of its body, each call giving what is to be sent now.
class answer_writer {
public:
  virtual ~answer_writer() = default;
  /// Before anything else.
  virtual std::string open() = 0;
  virtual std::string text(uint32_t choice, std::string_view text) = 0;
  virtual std::string finish(uint32_t choice, finish_reason reason) = 0;
  /// After everything else.
  virtual std::string close(const usage_counts& usage) = 0;
};

/// One JSON object, all of it given by `close`.
std::unique_ptr<answer_writer> make_body_writer(answer_identity identity);
/// Server-sent events, ended by [DONE]; with `include_usage` the last chunk before it has the usage and no choices.
std::unique_ptr<answer_writer> make_stream_writer(answer_identity identity, bool include_usage);

/// Ends a stream whose status line already said 200: the error as an event, then [DONE].
std::string render_stream_error(const api_error& error);

/// {"error": {...}} with the error's status and `Retry-After`.
http_response error_response(const api_error& error);

/// The list of models (there is one), and one model alone.
std::string render_model_list(const model_facts& model);
std::string render_model(const model_facts& model);

} // namespace perigee::gateway
