// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/simd_attention.hpp"
#include "kernels/cpu/simd_kernels.hpp"
#include "kernels/cpu/simd_q8.hpp"

#include <immintrin.h>

namespace perigee::kernels::cpu {

namespace {

struct vector8 {
  using type = __m256;
  static constexpr uint32_t width = 8;

  static type zero() noexcept {
    return _mm256_setzero_ps();
  }
  static type set(float x) noexcept {
    return _mm256_set1_ps(x);
  }
  static type load(const float* at) noexcept {
    return _mm256_loadu_ps(at);
  }
  static void store(float* at, type x) noexcept {
    _mm256_storeu_ps(at, x);
  }
  static type load_f16(const std::byte* at) noexcept {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
  }
  static type load_bf16(const std::byte* at) noexcept {
    auto bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16));
  }
  static void load_bf16_pairs(const std::byte* at, type& low, type& high) noexcept {
    auto bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
    low = _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16));
    high = _mm256_castsi256_ps(_mm256_and_si256(bits, _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
  }
  static type add(type a, type b) noexcept {
    return _mm256_add_ps(a, b);
  }
  static type sub(type a, type b) noexcept {
    return _mm256_sub_ps(a, b);
  }
  static type mul(type a, type b) noexcept {
    return _mm256_mul_ps(a, b);
  }
  static type div(type a, type b) noexcept {
    return _mm256_div_ps(a, b);
  }
  static type fma(type a, type b, type c) noexcept {
    return _mm256_fmadd_ps(a, b, c);
  }
  static type max(type a, type b) noexcept {
    return _mm256_max_ps(a, b);
  }
  static type min(type a, type b) noexcept {
    return _mm256_min_ps(a, b);
  }
  static type round(type x) noexcept {
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  /// 2^n for whole n from -126 to 127.
  static type power_of_two(type n) noexcept {
    auto exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
  }
  static float sum(type x) noexcept {
    auto four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    auto two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  static float highest(type x) noexcept {
    auto four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    auto two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
  }
};

} // namespace

// 16 registers: sums of 3 rows × 4 vectors, and what they are made from.
const ops avx2_ops = {
  .name = "avx2",
  .rms_norm = simd::rms_norm<vector8>,
  .rope = simd::rope<vector8>,
  .swiglu = simd::swiglu<vector8>,
  .gemm_f32 = simd::gemm<vector8, simd::plain_panel<vector8, simd::f32_element>, 3>,
  .gemm_f16 = simd::gemm<vector8, simd::plain_panel<vector8, simd::f16_element>, 3>,
  .gemm_bf16 = simd::gemm<vector8, simd::paired_panel<vector8>, 2>,
  .gemm_bf16_dot = nullptr,
  .gemm_bf16_batch = nullptr,
  .interleave_bf16 = nullptr,
  .to_bf16 = nullptr,
  .gemm_q8 = simd::gemm_q8,
  .quantize_q8 = simd::quantize_q8,
  .attention_f32 = simd::attention<vector8, simd::f32_element>,
  .attention_f16 = simd::attention<vector8, simd::f16_element>,
  .attention_bf16 = simd::attention<vector8, simd::bf16_element>,
  .attention_bf16_dot = nullptr,
};

} // namespace perigee::kernels::cpu
