// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/bf16_attention.hpp"
#include "kernels/cpu/bf16_product.hpp"
#include "kernels/cpu/simd_attention.hpp"
#include "kernels/cpu/simd_kernels.hpp"
#include "kernels/cpu/simd_q8.hpp"
#include "kernels/cpu/vector16.hpp"

namespace perigee::kernels::cpu {

namespace {

/// int8 weights and input: each instruction multiplies and adds four neighbouring k. Three rows by 64 columns.
template <uint32_t Rows>
void q8_rows(const gemm_task& task, uint32_t row, const std::byte* panel, uint32_t first) noexcept {
  constexpr auto vectors = 4u;
  auto blocks = (task.k + q8_block_numbers - 1) / q8_block_numbers;
  auto* a = static_cast<const q8_block*>(task.a) + row * task.a_stride;
  __m512 sums[Rows][vectors];
#pragma GCC unroll 4
  for (auto r = 0u; r < Rows; ++r)
#pragma GCC unroll 4
    for (auto v = 0u; v < vectors; ++v)
      sums[r][v] = _mm512_setzero_ps();
  for (auto block = 0u; block < blocks; ++block, ++a, panel += q8_panel_block_bytes) {
    __m512i whole[Rows][vectors];
#pragma GCC unroll 4
    for (auto r = 0u; r < Rows; ++r)
#pragma GCC unroll 4
      for (auto v = 0u; v < vectors; ++v)
        whole[r][v] = _mm512_set1_epi32(a[r * task.a_stride].bias);
#pragma GCC unroll 8
    for (auto quad = 0u; quad < 8; ++quad) {
      __m512i b[vectors];
#pragma GCC unroll 4
      for (auto v = 0u; v < vectors; ++v)
        b[v] = _mm512_loadu_si512(panel + (quad * vectors + v) * 64);
#pragma GCC unroll 4
      for (auto r = 0u; r < Rows; ++r) {
        auto four = 0;
        __builtin_memcpy(&four, a[r * task.a_stride].q + quad * 4, 4);
        auto x = _mm512_set1_epi32(four);
#pragma GCC unroll 4
        for (auto v = 0u; v < vectors; ++v)
          whole[r][v] = _mm512_dpbusd_epi32(whole[r][v], b[v], x);
      }
    }
    auto* scales = reinterpret_cast<const __m256i*>(panel + 64 * q8_block_numbers);
#pragma GCC unroll 4
    for (auto v = 0u; v < vectors; ++v) {
      auto scale = _mm512_cvtph_ps(_mm256_loadu_si256(scales + v));
#pragma GCC unroll 4
      for (auto r = 0u; r < Rows; ++r)
        sums[r][v] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole[r][v]),
                                     _mm512_mul_ps(scale, _mm512_set1_ps(a[r * task.a_stride].scale)), sums[r][v]);
    }
  }
#pragma GCC unroll 4
  for (auto r = 0u; r < Rows; ++r)
    simd::put<vector16, vectors>(sums[r], task.c + (row + r) * task.c_stride + first, task.n - first, task.accumulate);
}

void gemm_q8(const gemm_task& task) noexcept {
  for (auto index = task.panel_begin; index < task.panel_end; ++index) {
    auto* panel = task.panels + index * task.panel_bytes;
    auto row = 0u;
    for (; row + 3 <= task.rows; row += 3)
      q8_rows<3>(task, row, panel, index * 64);
    if (row + 2 == task.rows)
      q8_rows<2>(task, row, panel, index * 64);
    else if (row < task.rows)
      q8_rows<1>(task, row, panel, index * 64);
  }
}

void to_bf16(const float* x, uint32_t n, uint16_t* out) noexcept {
  auto i = 0u;
  for (; i + 16 <= n; i += 16)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(x + i)));
  if (i < n) {
    auto mask = static_cast<__mmask16>((1u << (n - i)) - 1);
    auto rest = _mm512_maskz_loadu_ps(mask, x + i);
    _mm256_mask_storeu_epi16(out + i, mask, (__m256i)_mm512_cvtneps_pbh(rest));
  }
}

} // namespace

const ops avx512_bf16_ops = {
  .name = "avx512_bf16",
  .rms_norm = simd::rms_norm<vector16>,
  .rope = simd::rope<vector16>,
  .swiglu = simd::swiglu<vector16>,
  .gemm_f32 = simd::gemm<vector16, simd::plain_panel<vector16, simd::f32_element>, 12>,
  .gemm_f16 = simd::gemm<vector16, simd::plain_panel<vector16, simd::f16_element>, 12>,
  .gemm_bf16 = simd::gemm<vector16, simd::paired_panel<vector16>, 12>,
  .gemm_bf16_dot = simd::gemm<vector16, dot_panel, 6>,
  .gemm_bf16_batch = gemm_bf16_batch,
  .interleave_bf16 = interleave_bf16,
  .to_bf16 = to_bf16,
  .gemm_q8 = gemm_q8,
  .quantize_q8 = simd::quantize_q8,
  .attention_f32 = simd::attention<vector16, simd::f32_element>,
  .attention_f16 = simd::attention<vector16, simd::f16_element>,
  .attention_bf16 = simd::attention<vector16, simd::bf16_element>,
  .attention_bf16_dot = attention_bf16_dot,
};

} // namespace perigee::kernels::cpu
