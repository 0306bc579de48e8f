// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cpu/aligned_buffer.hpp"
#include "kernels/cpu/ops.hpp"
#include "kernels/cpu/packed_matrix.hpp"
#include "kernels/cpu/piece_share.hpp"
#include "kernels/cpu/thread_pool.hpp"

#include <memory>

namespace perigee::kernels::cpu {

class dnnl_gemm;

/// Forms of the input to a linear layer: small integers for int8 weights, bf16 for bf16 weights where the processor
/// multiplies them, f32 otherwise.
enum class input_form : uint8_t { f32, bf16, q8 };

/// Rows of input to a linear layer, zero-padded as `stored_k` says.
class activations {
public:
  /// Makes room for `rows` × `k`; what it held is lost.
  void reshape(uint32_t rows, uint32_t k, input_form form);
  /// Sets one row from `k` floats. Different rows may be set by different threads.
  void set(const ops& table, uint32_t row, const float* values) noexcept;

  const void* data() const noexcept {
    return memory_.data();
  }
  size_t stride() const noexcept {
    return stride_;
  }
  input_form form() const noexcept {
    return form_;
  }
  uint32_t k() const noexcept {
    return k_;
  }

private:
  size_t element_bytes() const noexcept;

  aligned_buffer<std::byte> memory_;
  size_t stride_ = 0; ///< elements, or blocks of `q8_block`
  uint32_t k_ = 0;
  input_form form_ = input_form::f32;
};

/// Multiplies activations with packed matrices on a thread pool. Few rows, and all of f32 and f16, go through our own
/// kernels, whose result for a row does not depend on the others; many rows of bf16 go through oneDNN. Not thread-safe.
class linear {
public:
  /// `fixed_order` keeps everything on our own kernels.
  linear(const ops& table, thread_pool& pool, bool fixed_order);
  ~linear();

  /// Of the `activations` for a matrix of this type.
  input_form form_for(dtype weights) const noexcept {
    if (weights == dtype::q8_0)
      return input_form::q8;
    return weights == dtype::bf16 && table_.gemm_bf16_dot != nullptr ? input_form::bf16 : input_form::f32;
  }
  /// out[rows, n] = in × matrixᵀ, or += . `in` has room for `rounded_rows(rows)` rows; `out_stride` counts floats.
  void apply(const packed_matrix& matrix, const activations& in, uint32_t rows, float* out, size_t out_stride,
             bool accumulate);

private:
  void interleave(const activations& in, uint32_t rows);

  const ops& table_;
  thread_pool& pool_;
  piece_share share_; ///< of the panels of one matrix
  aligned_buffer<uint32_t> interleaved_; ///< input of a batch
  std::unique_ptr<dnnl_gemm> dnnl_;      ///< null where it would not be used
};

} // namespace perigee::kernels::cpu
