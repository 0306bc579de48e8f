// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/model/config.hpp"
#include "kernels/model/gguf.hpp"
#include "kernels/model/tokenizer.hpp"

#include <string>

// What a GGUF file says about its model, in the forms that a Hugging Face directory gives. Each throws `failure`
// (invalid_argument, unsupported) naming the file and the key or tensor.

namespace perigee::kernels {

/// Architectures `llama` (Mistral too), `qwen2` and `qwen3`.
model_config gguf_config(const gguf_file& file);

/// Vocabularies `llama` (SentencePiece: pieces with scores) and `gpt2` (byte-level: ranked merges) whose way to split
/// words is known.
tokenizer gguf_tokenizer(const gguf_file& file);

/// What tokenizer_config.json would say about the chat template and the begin and end tokens, as JSON text.
std::string gguf_tokenizer_config(const gguf_file& file);

/// The Hugging Face name of a tensor; the same name where there is none.
std::string tensor_name_of_gguf(const std::string& name);

} // namespace perigee::kernels
