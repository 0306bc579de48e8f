// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cpu/aligned_buffer.hpp"
#include "kernels/cpu/ops.hpp"
#include "kernels/cpu/packed_matrix.hpp"
#include "kernels/cpu/thread_pool.hpp"

#include <memory>

namespace perigee::kernels::cpu {

class dnnl_gemm;

/// Rows of input to a linear layer, in the type its kernel wants: bf16 for bf16 weights where the processor multiplies
/// them, f32 otherwise. Rows are zero-padded as `stored_k` says.
class activations {
public:
  /// Makes room for `rows` × `k`; what it held is lost.
  void reshape(uint32_t rows, uint32_t k, bool bf16);
  /// Sets one row from `k` floats. Different rows may be set by different threads.
  void set(const ops& table, uint32_t row, const float* values) noexcept;

  const void* data() const noexcept {
    return memory_.data();
  }
  size_t stride() const noexcept {
    return stride_;
  }
  bool bf16() const noexcept {
    return bf16_;
  }
  uint32_t k() const noexcept {
    return k_;
  }

private:
  aligned_buffer<std::byte> memory_;
  size_t stride_ = 0; ///< elements
  uint32_t k_ = 0;
  bool bf16_ = false;
};

/// Multiplies activations with packed matrices on a thread pool. Few rows, and all of f32 and f16, go through our own
/// kernels, whose result for a row does not depend on the others; many rows of bf16 go through oneDNN. Not thread-safe.
class linear {
public:
  /// `fixed_order` keeps everything on our own kernels.
  linear(const ops& table, thread_pool& pool, bool fixed_order);
  ~linear();

  /// Whether `activations` for a matrix of this type should be bf16.
  bool wants_bf16(dtype weights) const noexcept {
    return weights == dtype::bf16 && table_.gemm_bf16_dot != nullptr;
  }
  /// out[rows, n] = in × matrixᵀ, or += . `in` has room for `rounded_rows(rows)` rows; `out_stride` counts floats.
  void apply(const packed_matrix& matrix, const activations& in, uint32_t rows, float* out, size_t out_stride,
             bool accumulate);

private:
  const ops& table_;
  thread_pool& pool_;
  std::unique_ptr<dnnl_gemm> dnnl_; ///< null where it would not be used
};

} // namespace perigee::kernels::cpu
