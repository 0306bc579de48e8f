// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cpu/packed_matrix.hpp"
#include "kernels/cpu/thread_pool.hpp"

#include <cstdint>
#include <memory>

namespace perigee::kernels::cpu {

/// Rows are computed in multiples of this: each number of rows costs oneDNN a compilation.
inline constexpr uint32_t dnnl_row_step = 32;

constexpr uint32_t rounded_rows(uint32_t rows) noexcept {
  return (rows + dnnl_row_step - 1) / dnnl_row_step * dnnl_row_step;
}

/// bf16 matrix products through oneDNN, cut into pieces that run single-threaded on our own pool: the distribution's
/// oneDNN is built with OpenMP, whose threads spin while they wait and collapse where cores are shared. Not
/// thread-safe.
class dnnl_gemm {
public:
  explicit dnnl_gemm(thread_pool& pool);
  /// Whether it is faster than our own kernels on this processor: where it multiplies on tiles (AMX). With plain
  /// AVX-512 BF16 both run at the rate of the instruction.
  static bool pays() noexcept;
  ~dnnl_gemm();

  /// out[rows, n] = in × matrixᵀ, or += . `in` is bf16 with room for `rounded_rows(rows)` rows.
  void apply(const packed_matrix& matrix, const uint16_t* in, size_t in_stride, uint32_t rows, float* out,
             size_t out_stride, bool accumulate);

private:
  struct state;
  thread_pool& pool_;
  std::unique_ptr<state> state_;
};

} // namespace perigee::kernels::cpu
