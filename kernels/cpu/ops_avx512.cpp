// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/simd_attention.hpp"
#include "kernels/cpu/simd_kernels.hpp"
#include "kernels/cpu/simd_q8.hpp"
#include "kernels/cpu/vector16.hpp"

namespace perigee::kernels::cpu {

// 32 registers: sums of 12 rows × 2 vectors, and what they are made from.
const ops avx512_ops = {
  .name = "avx512",
  .rms_norm = simd::rms_norm<vector16>,
  .rope = simd::rope<vector16>,
  .swiglu = simd::swiglu<vector16>,
  .gemm_f32 = simd::gemm<vector16, simd::plain_panel<vector16, simd::f32_element>, 12>,
  .gemm_f16 = simd::gemm<vector16, simd::plain_panel<vector16, simd::f16_element>, 12>,
  .gemm_bf16 = simd::gemm<vector16, simd::paired_panel<vector16>, 12>,
  .gemm_bf16_dot = nullptr,
  .gemm_bf16_batch = nullptr,
  .interleave_bf16 = nullptr,
  .to_bf16 = nullptr,
  .gemm_q8 = simd::gemm_q8,
  .quantize_q8 = simd::quantize_q8,
  .attention_f32 = simd::attention<vector16, simd::f32_element>,
  .attention_f16 = simd::attention<vector16, simd::f16_element>,
  .attention_bf16 = simd::attention<vector16, simd::bf16_element>,
  .attention_bf16_dot = nullptr,
};

} // namespace perigee::kernels::cpu
