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
  /// bytes, aligned to 64. `int8` rounds weights of other types to int8 with a scale for 32 neighbours.
  packed_matrix(std::span<const matrix_view> parts, std::byte* memory, bool int8 = false);

  static size_t bytes_for(std::span<const matrix_view> parts, bool int8 = false) noexcept;

  /// The same without packing, for `pack` to do piece by piece.
  static packed_matrix unpacked(std::span<const matrix_view> parts, std::byte* memory, bool int8);
  /// Packs the outputs of panels [begin, end). Different panels may be packed by different threads.
  void pack(std::span<const matrix_view> parts, uint32_t begin, uint32_t end) const;

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
  packed_matrix(std::span<const matrix_view> parts, bool int8) noexcept;

  dtype type_ = dtype::f32;
  uint32_t n_ = 0;
  uint32_t k_ = 0;
  uint32_t panels_ = 0;
  size_t panel_bytes_ = 0;
  std::byte* memory_ = nullptr;
};

/// k as it is stored: bf16 and int8 panels are padded with zeros to a multiple of 32.
constexpr uint32_t stored_k(dtype type, uint32_t k) noexcept {
  return type == dtype::bf16 || type == dtype::q8_0 ? (k + 31) / 32 * 32 : k;
}

constexpr uint32_t columns_per_panel(dtype type) noexcept {
  return type == dtype::bf16 || type == dtype::q8_0 ? panel_columns_bf16 : panel_columns;
}

} // namespace perigee::kernels::cpu
