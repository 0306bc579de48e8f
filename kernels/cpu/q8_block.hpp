// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace perigee::kernels::cpu {

/// Numbers that share one scale.
inline constexpr uint32_t q8_block_numbers = 32;

/// 32 neighbouring activations as small integers: x ≈ q × scale.
struct q8_block {
  int8_t q[q8_block_numbers];
  float scale;
  int32_t bias; ///< -128 × Σ q: weights are stored 128 too high, so that instructions for unsigned numbers take them
};
static_assert(sizeof(q8_block) == 40);

/// Bytes of one block of a panel of int8 weights: [8][64 columns][4] weights + 128, then [64] scales in f16.
inline constexpr size_t q8_panel_block_bytes = 64 * q8_block_numbers + 64 * 2;

} // namespace perigee::kernels::cpu
