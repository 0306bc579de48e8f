// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/model/rope.hpp"
#include "transport/base/block_key.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace perigee::kernels {

/// Families that share the Llama forward pass; what sets them apart stands in the other fields.
enum class model_family : uint8_t { llama, mistral, qwen2, qwen3 };

std::string_view to_string(model_family family) noexcept;

inline constexpr uint64_t head_dim_max = 512; ///< bounds the scratch of attention

/// The shape of a Llama-family model, as its config.json or GGUF file gives it.
struct model_config {
  model_family family = model_family::llama;
  uint32_t layers = 0;
  uint32_t hidden = 0;
  uint32_t ffn = 0;
  uint32_t heads = 0;
  uint32_t kv_heads = 0; ///< divides `heads`
  uint32_t head_dim = 0; ///< even
  uint32_t vocab = 0;
  uint32_t context = 0; ///< most tokens of one sequence
  float rms_eps = 1e-6f;
  rope_config rope;
  bool qkv_bias = false;         ///< q, k and v have biases
  bool qk_norm = false;          ///< every head of q and k is RMS-normed before it is rotated
  std::vector<uint32_t> windows; ///< by layer: a token attends so many tokens, itself included; 0 or empty: all
  bool tied_embeddings = false;
  std::optional<token_id> bos;
  std::vector<token_id> eos; ///< sorted, without doubles; config.json and generation_config.json together

  uint32_t q_width() const noexcept {
    return heads * head_dim;
  }
  uint32_t kv_width() const noexcept {
    return kv_heads * head_dim;
  }
  /// First position that a token at `position` attends in `layer`.
  uint32_t attends_from(uint32_t layer, uint32_t position) const noexcept {
    auto window = windows.empty() ? 0 : windows[layer];
    return window == 0 || position < window ? 0 : position + 1 - window;
  }
};

/// Reads `dir`/config.json and, where it exists, `dir`/generation_config.json. Throws `failure`: not_found,
/// invalid_argument (the key and value are named), unsupported (well-formed, but not a model this engine computes
/// rightly).
model_config load_config(const std::filesystem::path& dir);

/// The fields that affect K and V, as text for the fingerprint.
std::string kv_fields(const model_config& config);

} // namespace perigee::kernels
