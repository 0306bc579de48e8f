// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/packed_matrix.hpp"

#include <cassert>
#include <cstring>

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

} // namespace

packed_matrix::packed_matrix(std::span<const matrix_view> parts) noexcept : type_(parts[0].type), k_(parts[0].columns) {
  for (const auto& part : parts) {
    assert(part.type == type_ && part.columns == k_);
    n_ += part.rows;
  }
  auto width = columns_per_panel(type_);
  panels_ = (n_ + width - 1) / width;
  panel_bytes_ = size_t{stored_k(type_, k_)} * width * size_of(type_);
}

packed_matrix::packed_matrix(std::span<const matrix_view> parts, std::byte* memory) : packed_matrix(parts) {
  memory_ = memory;
  auto width = columns_per_panel(type_);
  auto at = 0u;
  for (const auto& part : parts)
    for (auto row = 0u; row < part.rows; ++row, ++at)
      scatter_row(part.row(row), type_, k_, memory_ + at / width * panel_bytes_, at % width);
}

size_t packed_matrix::bytes_for(std::span<const matrix_view> parts) noexcept {
  return packed_matrix{parts}.bytes();
}

} // namespace perigee::kernels::cpu
