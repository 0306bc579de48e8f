// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/base/block_key.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace perigee::kernels {

/// How rotary frequencies are stretched. Only forms that depend on the position alone: a cached K must stay right
/// whatever comes after it.
struct rope_scaling {
  enum class form : uint8_t { none, linear, llama3 };
  form kind = form::none;
  double factor = 1;
  double low_freq_factor = 1;       ///< llama3
  double high_freq_factor = 4;      ///< llama3
  uint32_t original_context = 8192; ///< llama3
};

/// The shape of a Llama-family model, as its config.json gives it.
struct model_config {
  uint32_t layers = 0;
  uint32_t hidden = 0;
  uint32_t ffn = 0;
  uint32_t heads = 0;
  uint32_t kv_heads = 0; ///< divides `heads`
  uint32_t head_dim = 0; ///< even
  uint32_t vocab = 0;
  uint32_t context = 0; ///< most tokens of one sequence
  float rms_eps = 1e-6f;
  double rope_theta = 10000;
  rope_scaling scaling;
  bool tied_embeddings = false;
  std::optional<token_id> bos;
  std::vector<token_id> eos; ///< sorted, without doubles; config.json and generation_config.json together

  uint32_t q_width() const noexcept {
    return heads * head_dim;
  }
  uint32_t kv_width() const noexcept {
    return kv_heads * head_dim;
  }
};

/// Reads `dir`/config.json and, where it exists, `dir`/generation_config.json. Throws `failure`: not_found,
/// invalid_argument (the key and value are named), unsupported (well-formed, but not a model this engine computes
/// rightly).
model_config load_config(const std::filesystem::path& dir);

/// Angle per position of each rotated pair: `head_dim` / 2 values. Plain: theta^(-2i/head_dim); scaled as in the
/// Llama 3.1 model card where asked.
std::vector<double> inverse_frequencies(const model_config& config);

/// The fields that affect K and V, as text for the fingerprint.
std::string kv_fields(const model_config& config);

} // namespace perigee::kernels
