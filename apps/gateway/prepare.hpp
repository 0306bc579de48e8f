// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/gateway/backend.hpp"
#include "apps/gateway/openai_types.hpp"

#include <chrono>
#include <string>
#include <variant>
#include <vector>

namespace perigee::gateway {

/// A request ready to be submitted: one spec per prompt.
struct prepared_request {
  api_kind kind = api_kind::completion;
  bool stream = false;
  bool include_usage = false;
  uint32_t choices_per_prompt = 1; ///< choice c of prompt p is choice p × this + c of the answer
  std::vector<completion_spec> specs;
};

/// Applies chat format, tokenizer and the model's limits. An unknown model is a 404; a prompt that leaves no room in
/// the context, a token id outside the vocabulary, or more `max_tokens` than room a 400. `id` names the first prompt,
/// the others get a suffix.
std::variant<prepared_request, api_error> prepare(api_request request, const model_facts& model,
                                                  const text_encoder& encoder, const std::string& id,
                                                  std::chrono::milliseconds deadline);

} // namespace perigee::gateway
