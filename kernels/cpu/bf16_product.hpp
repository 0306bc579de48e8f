// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cpu/simd_kernels.hpp"
#include "kernels/cpu/vector16.hpp"

/// Matrix products with AVX-512 BF16 dot products: each instruction multiplies and adds two neighbouring k of 16
/// columns. The sums of a row are the same chain however many rows there are. The rules of `simd_kernels.hpp` hold here
/// too.
namespace perigee::kernels::cpu {

namespace {

/// Whole panels of 64 columns for up to 6 rows: f32 and f16 products are made the same way.
struct dot_panel {
  static constexpr uint32_t columns = panel_columns_bf16;
  static constexpr uint32_t parts = 1;
  static constexpr uint32_t vectors = columns / vector16::width;
  using input = uint16_t;

  template <uint32_t Rows>
  static void multiply(const uint16_t* a, size_t stride, const std::byte* panel, uint32_t, uint32_t k_size,
                       __m512 (&sums)[Rows][vectors]) noexcept {
    for (auto k = 0u; k < k_size; k += 2, panel += columns * 4) {
      __m512bh b[vectors];
#pragma GCC unroll 4
      for (auto v = 0u; v < vectors; ++v)
        b[v] = (__m512bh)_mm512_loadu_si512(panel + v * 64);
#pragma GCC unroll 8
      for (auto r = 0u; r < Rows; ++r) {
        auto pair = 0;
        __builtin_memcpy(&pair, a + r * stride + k, 4);
        auto x = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 4
        for (auto v = 0u; v < vectors; ++v)
          sums[r][v] = _mm512_dpbf16_ps(sums[r][v], x, b[v]);
      }
    }
  }
};

/// Calls body(first row, rows) for each group of a batch: equal shares of what the registers hold sums for, 16 columns
/// at a time.
template <class Body>
void each_group(uint32_t rows, Body&& body) noexcept {
  constexpr auto group_max = 28u;
  auto groups = (rows + group_max - 1) / group_max;
  for (auto row = 0u; groups > 0; --groups) {
    auto count = (rows - row + groups - 1) / groups;
    body(row, count);
    row += count;
  }
}

/// Rows of 16 words become columns.
void transpose16(__m512i (&x)[16]) noexcept {
  __m512i y[16];
#pragma GCC unroll 8
  for (auto i = 0; i < 16; i += 2) {
    y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
    y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
  }
#pragma GCC unroll 4
  for (auto i = 0; i < 16; i += 4) {
    x[i] = _mm512_unpacklo_epi64(y[i], y[i + 2]);
    x[i + 1] = _mm512_unpackhi_epi64(y[i], y[i + 2]);
    x[i + 2] = _mm512_unpacklo_epi64(y[i + 1], y[i + 3]);
    x[i + 3] = _mm512_unpackhi_epi64(y[i + 1], y[i + 3]);
  }
#pragma GCC unroll 4
  for (auto i = 0; i < 4; ++i) {
    y[i] = _mm512_shuffle_i32x4(x[i], x[i + 4], 0x88);
    y[i + 4] = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0x88);
    y[i + 8] = _mm512_shuffle_i32x4(x[i], x[i + 4], 0xdd);
    y[i + 12] = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0xdd);
  }
#pragma GCC unroll 4
  for (auto i = 0; i < 4; ++i) {
    x[i] = _mm512_shuffle_i32x4(y[i], y[i + 4], 0x88);
    x[i + 8] = _mm512_shuffle_i32x4(y[i], y[i + 4], 0xdd);
    x[i + 4] = _mm512_shuffle_i32x4(y[i + 8], y[i + 12], 0x88);
    x[i + 12] = _mm512_shuffle_i32x4(y[i + 8], y[i + 12], 0xdd);
  }
}

/// Each group of a batch as [k / 2, rows] pairs; of these, [begin, end), where `begin` is a multiple of 16.
void interleave_bf16(const uint16_t* a, size_t stride, uint32_t rows, uint32_t k, uint32_t begin, uint32_t end,
                     uint32_t* out) noexcept {
  auto pairs = (k + 1) / 2;
  each_group(rows, [&](uint32_t first, uint32_t count) {
    auto* to = out + size_t{first} * pairs;
    for (auto row = 0u; row < count; row += 16) {
      auto some = count - row < 16 ? count - row : 16;
      auto wanted = static_cast<__mmask16>((1u << some) - 1);
      for (auto pair = begin; pair < end; pair += 16) {
        __m512i block[16];
        for (auto r = 0u; r < 16; ++r)
          block[r] = r < some ? _mm512_loadu_si512(a + (first + row + r) * stride + 2 * pair) : _mm512_setzero_si512();
        transpose16(block);
        for (auto i = 0u; i < 16 && pair + i < end; ++i)
          _mm512_mask_storeu_epi32(to + size_t{pair + i} * count + row, wanted, block[i]);
      }
    }
  });
}

/// A panel is taken in pieces that stay in the first-level cache while all rows go over them, and the next piece is
/// fetched meanwhile: weights stream from memory behind the arithmetic instead of before it.
class batch_product {
public:
  explicit batch_product(const gemm_task& task) noexcept : task_(task), pairs_((task.k + 1) / 2) {}

  void run() noexcept {
    for (auto index = task_.panel_begin; index < task_.panel_end; ++index) {
      auto* panel = task_.panels + index * task_.panel_bytes;
      for (auto pair = 0u; pair < pairs_; pair += piece_pairs)
        add_piece(panel, pair);
      auto first = index * panel_columns_bf16;
      for (auto r = 0u; r < task_.rows; ++r) {
        __m512 sums[vectors];
        for (auto v = 0u; v < vectors; ++v)
          sums[v] = _mm512_load_ps(sums_[r] + v * 16);
        simd::put<vector16, vectors>(sums, task_.c + r * task_.c_stride + first, task_.n - first, task_.accumulate);
      }
    }
  }

private:
  static constexpr uint32_t vectors = panel_columns_bf16 / 16;
  static constexpr uint32_t piece_pairs = 64; // 16 KiB

  struct work {
    const uint32_t* a; ///< [pairs, rows]
    const std::byte* piece;
    float (*sums)[panel_columns_bf16];
    uint32_t pairs;
    bool first; ///< piece of the panel
    bool fetch; ///< the next piece
  };

  void add_piece(const std::byte* panel, uint32_t pair) noexcept {
    each_group(task_.rows, [&](uint32_t row, uint32_t rows) {
      auto now = work{};
      now.a = static_cast<const uint32_t*>(task_.a) + size_t{row} * pairs_ + size_t{pair} * rows;
      now.piece = panel + size_t{pair} * panel_columns_bf16 * 4;
      now.sums = sums_ + row;
      now.pairs = pairs_ - pair < piece_pairs ? pairs_ - pair : piece_pairs;
      now.first = pair == 0;
      now.fetch = row == 0;
      some_rows<28>(rows, now);
    });
  }

  template <uint32_t Rows>
  void some_rows(uint32_t rows, const work& now) noexcept {
    if constexpr (Rows > batch_rows_min)
      if (rows < Rows) {
        some_rows<Rows - 1>(rows, now);
        return;
      }
    for (auto v = 0u; v < vectors; ++v)
      add_columns<Rows>(now, v);
  }

  template <uint32_t Rows>
  static void add_columns(const work& now, uint32_t vector) noexcept {
    __m512 sums[Rows];
#pragma GCC unroll 32
    for (auto r = 0u; r < Rows; ++r)
      sums[r] = now.first ? _mm512_setzero_ps() : _mm512_load_ps(now.sums[r] + vector * 16);
    auto* a = now.a;
    auto* at = now.piece + vector * 64;
    // Beyond a panel stands the next one. Into the second-level cache: the first is full of what is in use.
    auto* ahead = now.piece + size_t{piece_pairs} * panel_columns_bf16 * 4 + size_t{vector} * now.pairs * 64;
    for (auto pair = 0u; pair < now.pairs; ++pair, a += Rows, at += panel_columns_bf16 * 4, ahead += 64) {
      if (now.fetch)
        _mm_prefetch(ahead, _MM_HINT_T1);
      auto b = (__m512bh)_mm512_load_si512(at);
#pragma GCC unroll 32
      for (auto r = 0u; r < Rows; ++r)
        sums[r] = _mm512_dpbf16_ps(sums[r], (__m512bh)_mm512_set1_epi32(static_cast<int>(a[r])), b);
    }
#pragma GCC unroll 32
    for (auto r = 0u; r < Rows; ++r)
      _mm512_store_ps(now.sums[r] + vector * 16, sums[r]);
  }

  const gemm_task& task_;
  const uint32_t pairs_;
  alignas(64) float sums_[batch_rows_max][panel_columns_bf16];
};

void gemm_bf16_batch(const gemm_task& task) noexcept {
  batch_product{task}.run();
}

} // namespace

} // namespace perigee::kernels::cpu
