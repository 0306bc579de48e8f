// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace perigee::kernels {

/// Element types of weights, and of KV but for the last. `q8_0`: blocks of 32 numbers, an f16 scale and 32 int8.
enum class dtype : uint8_t { f32, f16, bf16, q8_0 };

/// Of one element; not for `q8_0`.
constexpr size_t size_of(dtype type) noexcept {
  return type == dtype::f32 ? 4 : 2;
}

/// Of `count` elements, a multiple of 32 for `q8_0`.
constexpr size_t bytes_of(dtype type, size_t count) noexcept {
  return type == dtype::q8_0 ? count / 32 * 34 : count * size_of(type);
}

constexpr std::string_view to_string(dtype type) noexcept {
  switch (type) {
  case dtype::f32: return "f32";
  case dtype::f16: return "f16";
  case dtype::bf16: return "bf16";
  case dtype::q8_0: return "q8_0";
  }
  return "unknown";
}

constexpr float bf16_to_f32(uint16_t bits) noexcept {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

/// Rounds to nearest, ties to even; a NaN stays a (quiet) NaN.
constexpr uint16_t f32_to_bf16(float value) noexcept {
  auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u)
    return static_cast<uint16_t>(bits >> 16 | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

constexpr float f16_to_f32(uint16_t bits) noexcept {
  auto sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  auto exponent = static_cast<uint32_t>(bits >> 10 & 0x1fu);
  auto fraction = static_cast<uint32_t>(bits & 0x3ffu);
  if (exponent == 0x1f)
    return std::bit_cast<float>(sign | 0x7f800000u | fraction << 13);
  if (exponent != 0)
    return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
  // Zero or subnormal: fraction × 2^-24, exact in f32.
  auto magnitude = static_cast<float>(fraction) * 5.9604644775390625e-8f;
  return sign != 0 ? -magnitude : magnitude;
}

/// Rounds to nearest, ties to even; overflow becomes infinity.
constexpr uint16_t f32_to_f16(float value) noexcept {
  auto bits = std::bit_cast<uint32_t>(value);
  auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
  auto magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u)
    return static_cast<uint16_t>(sign | 0x7e00u);
  if (magnitude >= 0x477ff000u) // 65520 and above round to infinity
    return static_cast<uint16_t>(sign | 0x7c00u);
  if (magnitude < 0x38800000u) { // below 2^-14: subnormal, a multiple of 2^-24
    // Adding 0.5 puts the unit in the last place at 2^-24, so the addition rounds as wanted.
    auto shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000u));
  }
  auto rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
  return static_cast<uint16_t>(sign | (rounded - 0x38000000u) >> 13);
}

} // namespace perigee::kernels
