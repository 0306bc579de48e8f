// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/model/config.hpp"
#include "kernels/model/dtype.hpp"
#include "kernels/model/safetensors.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace perigee::kernels {

/// A row-major matrix [rows, columns] in mapped memory; need not be aligned. y = W x has `rows` outputs.
struct matrix_view {
  std::span<const std::byte> bytes;
  dtype type = dtype::f32;
  uint32_t rows = 0;
  uint32_t columns = 0;
  uint32_t paired_rows = 0; ///< as in `tensor_view`

  /// The row that makes output `index`.
  std::span<const std::byte> row(uint32_t index) const noexcept {
    if (paired_rows != 0) {
      auto inside = index % paired_rows;
      auto half = paired_rows / 2;
      index += (inside < half ? 2 * inside : 2 * (inside - half) + 1) - inside;
    }
    auto size = bytes_of(type, columns);
    return bytes.subspan(index * size, size);
  }
};

struct layer_weights {
  std::vector<float> attention_norm; ///< [hidden]
  std::vector<float> ffn_norm;       ///< [hidden]
  std::vector<float> qkv_bias;       ///< of q, then k, then v; empty where there is none
  std::vector<float> q_norm;         ///< [head_dim]; empty where there is none, as `k_norm`
  std::vector<float> k_norm;
  matrix_view q;    ///< [heads × head_dim, hidden]
  matrix_view k;    ///< [kv_heads × head_dim, hidden]
  matrix_view v;    ///< [kv_heads × head_dim, hidden]
  matrix_view o;    ///< [hidden, heads × head_dim]
  matrix_view gate; ///< [ffn, hidden]
  matrix_view up;   ///< [ffn, hidden]
  matrix_view down; ///< [hidden, ffn]
};

/// The tensors of a Llama-family model by their role. Views into a `tensor_store`, which must outlive it.
struct transformer_weights {
  dtype type = dtype::f32; ///< of every matrix
  matrix_view embedding;   ///< [vocab, hidden]
  matrix_view output;      ///< [vocab, hidden]; the embedding where tied
  std::vector<float> final_norm;
  std::vector<layer_weights> layers;
};

/// Throws `failure` naming the tensor that is missing, of another shape than `config` asks for, or of another type.
transformer_weights view_weights(const tensor_store& tensors, const model_config& config);

/// `count` elements as f32.
void widen(std::span<const std::byte> bytes, dtype type, std::span<float> out);

} // namespace perigee::kernels
