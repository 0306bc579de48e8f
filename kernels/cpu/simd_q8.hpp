// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cpu/ops.hpp"
#include "kernels/cpu/q8_block.hpp"

#include <immintrin.h>

/// int8 weights with AVX2. The rules of `simd_kernels.hpp` hold here too.
namespace perigee::kernels::cpu::simd {

namespace {

/// The largest magnitude becomes 127; rounds to nearest even.
void quantize_q8(const float* x, uint32_t n, q8_block* out) noexcept {
  for (auto at = 0u; at < n; at += q8_block_numbers, ++out) {
    alignas(32) float block[q8_block_numbers] = {};
    __builtin_memcpy(block, x + at, (n - at < q8_block_numbers ? n - at : q8_block_numbers) * sizeof(float));
    auto largest = _mm256_setzero_ps();
    auto sign = _mm256_set1_ps(-0.0f);
    for (auto i = 0u; i < q8_block_numbers; i += 8)
      largest = _mm256_max_ps(largest, _mm256_andnot_ps(sign, _mm256_load_ps(block + i)));
    auto four = _mm_max_ps(_mm256_castps256_ps128(largest), _mm256_extractf128_ps(largest, 1));
    auto two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    auto top = _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
    out->scale = top / 127;
    auto inverse = _mm256_set1_ps(top > 0 ? 127 / top : 0.0f);
    __m256i parts[4];
    auto sum = _mm256_setzero_si256();
    for (auto i = 0u; i < 4; ++i) {
      parts[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_load_ps(block + 8 * i), inverse));
      sum = _mm256_add_epi32(sum, parts[i]);
    }
    // Packing works within halves of vectors, so the four-byte groups come out of order.
    auto bytes = _mm256_packs_epi16(_mm256_packs_epi32(parts[0], parts[1]), _mm256_packs_epi32(parts[2], parts[3]));
    bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out->q), bytes);
    alignas(32) int32_t sums[8];
    _mm256_store_si256(reinterpret_cast<__m256i*>(sums), sum);
    out->bias = -128 * (sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7]);
  }
}

/// `Rows` rows times 8 columns of one panel from `column` on.
template <uint32_t Rows>
void q8_columns(const gemm_task& task, uint32_t row, const std::byte* panel, uint32_t column, float* to) noexcept {
  auto blocks = (task.k + q8_block_numbers - 1) / q8_block_numbers;
  auto* a = static_cast<const q8_block*>(task.a) + row * task.a_stride;
  __m256 sums[Rows];
  for (auto r = 0u; r < Rows; ++r)
    sums[r] = _mm256_setzero_ps();
  for (auto block = 0u; block < blocks; ++block, panel += q8_panel_block_bytes) {
    __m256i low[Rows];
    __m256i high[Rows];
    for (auto r = 0u; r < Rows; ++r)
      low[r] = high[r] = _mm256_setzero_si256();
    for (auto quad = 0u; quad < 8; ++quad) {
      auto* at = reinterpret_cast<const __m128i*>(panel + (quad * 64 + column) * 4);
      auto first = _mm256_cvtepu8_epi16(_mm_loadu_si128(at));
      auto second = _mm256_cvtepu8_epi16(_mm_loadu_si128(at + 1));
#pragma GCC unroll 4
      for (auto r = 0u; r < Rows; ++r) {
        auto four = 0;
        __builtin_memcpy(&four, a[r * task.a_stride + block].q + quad * 4, 4);
        auto x = _mm256_cvtepi8_epi16(_mm_set1_epi32(four));
        low[r] = _mm256_add_epi32(low[r], _mm256_madd_epi16(first, x));
        high[r] = _mm256_add_epi32(high[r], _mm256_madd_epi16(second, x));
      }
    }
    auto* scales = reinterpret_cast<const __m128i*>(panel + 64 * q8_block_numbers + column * 2);
    auto scale = _mm256_cvtph_ps(_mm_loadu_si128(scales));
    for (auto r = 0u; r < Rows; ++r) {
      const auto& in = a[r * task.a_stride + block];
      auto whole = _mm256_permute4x64_epi64(_mm256_hadd_epi32(low[r], high[r]), 0xd8);
      whole = _mm256_add_epi32(whole, _mm256_set1_epi32(in.bias));
      sums[r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole), _mm256_mul_ps(scale, _mm256_set1_ps(in.scale)), sums[r]);
    }
  }
  for (auto r = 0u; r < Rows; ++r)
    _mm256_storeu_ps(to + r * 64, sums[r]);
}

template <uint32_t Rows>
void q8_rows(const gemm_task& task, uint32_t row, const std::byte* panel, uint32_t first) noexcept {
  alignas(32) float all[Rows * 64];
  for (auto column = 0u; column < 64; column += 8)
    q8_columns<Rows>(task, row, panel, column, all + column);
  auto columns = task.n - first < 64 ? task.n - first : 64;
  for (auto r = 0u; r < Rows; ++r) {
    auto* c = task.c + (row + r) * task.c_stride + first;
    for (auto i = 0u; i < columns; ++i)
      c[i] = task.accumulate ? c[i] + all[r * 64 + i] : all[r * 64 + i];
  }
}

[[maybe_unused]] void gemm_q8(const gemm_task& task) noexcept {
  for (auto index = task.panel_begin; index < task.panel_end; ++index) {
    auto* panel = task.panels + index * task.panel_bytes;
    auto row = 0u;
    for (; row + 2 <= task.rows; row += 2)
      q8_rows<2>(task, row, panel, index * 64);
    if (row < task.rows)
      q8_rows<1>(task, row, panel, index * 64);
  }
}

} // namespace

} // namespace perigee::kernels::cpu::simd
