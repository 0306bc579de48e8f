// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/packed_matrix.hpp"

#include "kernels/cpu/q8_block.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <vector>

namespace perigee::kernels::cpu {

namespace {

/// Row `column` of the source becomes one column of its panel: element k goes to k × step (f32, f16), or pairs stay
/// together (bf16).
void scatter_row(std::span<const std::byte> row, dtype type, uint32_t k_size, std::byte* panel, uint32_t column) {
  if (type == dtype::f32) {
    for (auto k = 0u; k < k_size; ++k)
      std::memcpy(panel + (size_t{k} * panel_columns + column) * 4, row.data() + 4 * k, 4);
  } else if (type == dtype::f16) {
    for (auto k = 0u; k < k_size; ++k)
      std::memcpy(panel + (size_t{k} * panel_columns + column) * 2, row.data() + 2 * k, 2);
  } else {
    for (auto k = 0u; k + 1 < k_size; k += 2)
      std::memcpy(panel + (size_t{k / 2} * panel_columns_bf16 + column) * 4, row.data() + 2 * k, 4);
    if (k_size % 2 != 0)
      std::memcpy(panel + (size_t{k_size / 2} * panel_columns_bf16 + column) * 4, row.data() + 2 * (k_size - 1), 2);
  }
}

/// Row `column` of the source as blocks of 32 in its panel: as they are stored, or rounded.
void scatter_q8(std::span<const std::byte> row, dtype type, uint32_t k_size, std::byte* panel, uint32_t column) {
  auto values = std::vector<float>{};
  if (type != dtype::q8_0) {
    values.resize(k_size);
    widen(row, type, values);
  }
  for (auto at = 0u; at < k_size; at += q8_block_numbers, panel += q8_panel_block_bytes) {
    auto scale = uint16_t{0};
    int8_t q[q8_block_numbers] = {};
    if (type == dtype::q8_0) {
      std::memcpy(&scale, row.data() + at / q8_block_numbers * 34, 2);
      std::memcpy(q, row.data() + at / q8_block_numbers * 34 + 2, q8_block_numbers);
    } else {
      auto count = std::min(q8_block_numbers, k_size - at);
      auto largest = 0.0f;
      for (auto i = 0u; i < count; ++i)
        largest = std::max(largest, std::abs(values[at + i]));
      scale = f32_to_f16(std::min(largest / 127, 65504.0f));
      auto step = f16_to_f32(scale);
      for (auto i = 0u; i < count && step > 0; ++i)
        q[i] = static_cast<int8_t>(std::clamp(std::nearbyint(values[at + i] / step), -127.0f, 127.0f));
    }
    for (auto i = 0u; i < q8_block_numbers; ++i)
      panel[(i / 4 * panel_columns_bf16 + column) * 4 + i % 4] = static_cast<std::byte>(q[i] + 128);
    std::memcpy(panel + panel_columns_bf16 * q8_block_numbers + 2 * column, &scale, 2);
  }
}

} // namespace

packed_matrix::packed_matrix(std::span<const matrix_view> parts, bool int8) noexcept
  : type_(int8 ? dtype::q8_0 : parts[0].type), k_(parts[0].columns) {
  for (const auto& part : parts) {
    assert(part.type == parts[0].type && part.columns == k_);
    n_ += part.rows;
  }
  auto width = columns_per_panel(type_);
  panels_ = (n_ + width - 1) / width;
  panel_bytes_ = type_ == dtype::q8_0 ? stored_k(type_, k_) / q8_block_numbers * q8_panel_block_bytes
                                      : size_t{stored_k(type_, k_)} * width * size_of(type_);
}

packed_matrix packed_matrix::unpacked(std::span<const matrix_view> parts, std::byte* memory, bool int8) {
  auto result = packed_matrix{parts, int8};
  result.memory_ = memory;
  return result;
}

packed_matrix::packed_matrix(std::span<const matrix_view> parts, std::byte* memory, bool int8)
  : packed_matrix(unpacked(parts, memory, int8)) {
  pack(parts, 0, panels_);
}

void packed_matrix::pack(std::span<const matrix_view> parts, uint32_t begin, uint32_t end) const {
  auto width = columns_per_panel(type_);
  auto at = 0u; // output
  for (const auto& part : parts)
    for (auto row = 0u; row < part.rows; ++row, ++at) {
      if (at < begin * width || at >= end * width)
        continue;
      auto* panel = memory_ + at / width * panel_bytes_;
      if (type_ == dtype::q8_0)
        scatter_q8(part.row(row), part.type, k_, panel, at % width);
      else
        scatter_row(part.row(row), type_, k_, panel, at % width);
    }
}

size_t packed_matrix::bytes_for(std::span<const matrix_view> parts, bool int8) noexcept {
  return packed_matrix{parts, int8}.bytes();
}

} // namespace perigee::kernels::cpu
