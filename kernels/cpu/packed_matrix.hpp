// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cpu/ops.hpp"
#include "kernels/model/weights.hpp"

#include <span>

namespace perigee::kernels::cpu {

/// A weight matrix [n, k] in panels of neighbouring outputs, the order in which the kernels read it once, front to back
/// (`ops.hpp` has the panel's order). Several matrices with the same input can be stacked into one. A view: somebody
/// else owns the memory.
class packed_matrix {
public:
  packed_matrix() = default;
  /// Packs `parts`, which must have the same type and number of columns, into `memory`: zeroed, `bytes_for(parts)`
  /// bytes, aligned to 64.
  packed_matrix(std::span<const matrix_view> parts, std::byte* memory);

  static size_t bytes_for(std::span<const matrix_view> parts) noexcept;

  dtype type() const noexcept {
    return type_;
  }
  uint32_t n() const noexcept {
    return n_;
  }
  uint32_t k() const noexcept {
    return k_;
  }
  uint32_t panels() const noexcept {
    return panels_;
  }
  size_t panel_bytes() const noexcept {
    return panel_bytes_;
  }
  const std::byte* data() const noexcept {
    return memory_;
  }
  size_t bytes() const noexcept {
    return panels_ * panel_bytes_;
  }

private:
  explicit packed_matrix(std::span<const matrix_view> parts) noexcept;

  dtype type_ = dtype::f32;
  uint32_t n_ = 0;
  uint32_t k_ = 0;
  uint32_t panels_ = 0;
  size_t panel_bytes_ = 0;
  std::byte* memory_ = nullptr;
};

/// k as it is stored: bf16 panels are padded with zeros to a multiple of 32.
constexpr uint32_t stored_k(dtype type, uint32_t k) noexcept {
  return type == dtype::bf16 ? (k + 31) / 32 * 32 : k;
}

constexpr uint32_t columns_per_panel(dtype type) noexcept {
  return type == dtype::bf16 ? panel_columns_bf16 : panel_columns;
}

} // namespace perigee::kernels::cpu
