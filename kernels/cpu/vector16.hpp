// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include <immintrin.h>

/// The AVX-512 vector of the kernels, private to each file that is compiled with those flags.
namespace perigee::kernels::cpu {

namespace {

struct vector16 {
  using type = __m512;
  static constexpr uint32_t width = 16;

  static type zero() noexcept {
    return _mm512_setzero_ps();
  }
  static type set(float x) noexcept {
    return _mm512_set1_ps(x);
  }
  static type load(const float* at) noexcept {
    return _mm512_loadu_ps(at);
  }
  static void store(float* at, type x) noexcept {
    _mm512_storeu_ps(at, x);
  }
  static type load_f16(const std::byte* at) noexcept {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
  }
  static type load_bf16(const std::byte* at) noexcept {
    auto bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
  }
  static void load_bf16_pairs(const std::byte* at, type& low, type& high) noexcept {
    auto bits = _mm512_loadu_si512(at);
    low = _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
    high = _mm512_castsi512_ps(_mm512_and_si512(bits, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
  }
  static type add(type a, type b) noexcept {
    return _mm512_add_ps(a, b);
  }
  static type sub(type a, type b) noexcept {
    return _mm512_sub_ps(a, b);
  }
  static type mul(type a, type b) noexcept {
    return _mm512_mul_ps(a, b);
  }
  static type div(type a, type b) noexcept {
    return _mm512_div_ps(a, b);
  }
  static type fma(type a, type b, type c) noexcept {
    return _mm512_fmadd_ps(a, b, c);
  }
  static type max(type a, type b) noexcept {
    return _mm512_max_ps(a, b);
  }
  static type min(type a, type b) noexcept {
    return _mm512_min_ps(a, b);
  }
  static type round(type x) noexcept {
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  /// 2^n for whole n from -126 to 127.
  static type power_of_two(type n) noexcept {
    auto exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23));
  }
  static float sum(type x) noexcept {
    return _mm512_reduce_add_ps(x);
  }
  static float highest(type x) noexcept {
    return _mm512_reduce_max_ps(x);
  }
};

} // namespace

} // namespace perigee::kernels::cpu
