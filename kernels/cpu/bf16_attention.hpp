// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cpu/ops.hpp"
#include "kernels/cpu/vector16.hpp"

/// Attention with AVX-512 BF16 dot products for many units: tiles of K and V are brought into the order of the
/// instruction once and serve all units, in the caches. What a unit gets depends on its own numbers and positions
/// alone. The rules of `simd_kernels.hpp` hold here too. Source: Dao et al. 2022 (tiles with an online softmax).
namespace perigee::kernels::cpu {

namespace {

class bf16_attention {
public:
  static constexpr uint32_t tile_tokens = 64; ///< a tile begins at a multiple of it
  static constexpr uint32_t vectors = tile_tokens / 16;
  static constexpr uint32_t rows_max = 6; ///< units whose sums the registers hold

  explicit bf16_attention(const attention_task& task) noexcept : task_(task), half_(task.head_dim / 2) {
    auto* at = reinterpret_cast<std::byte*>(task.scratch);
    keys_ = reinterpret_cast<uint32_t*>(at); // [head_dim / 2, 64] pairs of neighbouring elements
    at += size_t{half_} * tile_tokens * 4;
    values_ = reinterpret_cast<uint32_t*>(at); // [32, head_dim] pairs of neighbouring tokens
    at += size_t{half_} * tile_tokens * 4;
    sums_ = reinterpret_cast<float*>(at); // [units, head_dim]
    at += size_t{task.units} * task.head_dim * 4;
    queries_ = reinterpret_cast<uint32_t*>(at); // [units, head_dim / 2] pairs
  }

  void run() noexcept {
    auto first = task_.starts[0];
    auto longest = task_.lengths[0];
    for (auto u = 0u; u < task_.units; ++u) {
      first = task_.starts[u] < first ? task_.starts[u] : first;
      longest = task_.lengths[u] > longest ? task_.lengths[u] : longest;
      tops_[u] = -__builtin_inff();
      totals_[u] = 0;
      round_query(u);
    }
    for (auto i = 0u; i < task_.units * task_.head_dim; i += 16)
      _mm512_storeu_ps(sums_ + i, _mm512_setzero_ps());
    for (auto at = first / tile_tokens * tile_tokens; at < longest; at += tile_tokens) {
      for (auto head = 0u; head < task_.heads; ++head) {
        gather_tile(head, at, longest);
        auto end = (head + 1) * task_.head_units();
        for (auto u = end - task_.head_units(); u < end;)
          u += some_rows<rows_max>(end - u, u, at);
      }
    }
    for (auto u = 0u; u < task_.units; ++u) {
      auto scale = _mm512_set1_ps(1 / totals_[u]);
      for (auto d = 0u; d < task_.head_dim; d += 16)
        _mm512_storeu_ps(task_.out[u] + d, _mm512_mul_ps(scale, _mm512_loadu_ps(sums_ + u * task_.head_dim + d)));
    }
  }

private:
  /// Scores come out in powers of two: 2^x is cheaper than e^x.
  void round_query(uint32_t unit) noexcept {
    auto scale = _mm512_set1_ps(1.44269504f);
    for (auto d = 0u; d < task_.head_dim; d += 16) {
      auto x = _mm512_mul_ps(scale, _mm512_loadu_ps(task_.q[unit] + d));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(queries_ + unit * half_ + d / 2), (__m256i)_mm512_cvtneps_pbh(x));
    }
  }

  /// Two rows of 16 halves as 16 pairs.
  static __m512i paired(__m256i even, __m256i odd) noexcept {
    return _mm512_or_si512(_mm512_cvtepu16_epi32(even), _mm512_slli_epi32(_mm512_cvtepu16_epi32(odd), 16));
  }

  /// Brings [at, at + 64) of a head into order; zeros from `end` on.
  void gather_tile(uint32_t head, uint32_t at, uint32_t end) noexcept {
    auto head_bytes = size_t{head} * task_.head_dim * task_.block_tokens * 2;
    for (auto group = 0u; group < tile_tokens; group += 16) {
      auto position = at + group;
      auto count = position >= end ? 0 : end - position < 16 ? end - position : 16;
      auto mask = static_cast<__mmask16>((1u << count) - 1);
      const auto* block = task_.blocks[count > 0 ? position / task_.block_tokens : 0];
      auto offset = position % task_.block_tokens;
      auto* k = reinterpret_cast<const uint16_t*>(block + task_.k_offset + head_bytes) + offset;
      for (auto d = 0u; d < half_; ++d, k += size_t{2} * task_.block_tokens) {
        auto pairs = _mm512_setzero_si512();
        if (count > 0)
          pairs = paired(_mm256_maskz_loadu_epi16(mask, k), _mm256_maskz_loadu_epi16(mask, k + task_.block_tokens));
        _mm512_storeu_si512(keys_ + d * tile_tokens + group, pairs);
      }
      auto* v =
        reinterpret_cast<const uint16_t*>(block + task_.v_offset + head_bytes) + size_t{offset} * task_.head_dim;
      for (auto t = 0u; t < 16; t += 2, v += size_t{2} * task_.head_dim) {
        auto* out = values_ + (group + t) / 2 * task_.head_dim;
        for (auto d = 0u; d < task_.head_dim; d += 16) {
          auto even = _mm256_setzero_si256();
          auto odd = even;
          if (t < count)
            even = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(v + d));
          if (t + 1 < count)
            odd = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(v + task_.head_dim + d));
          _mm512_storeu_si512(out + d, paired(even, odd));
        }
      }
    }
  }

  template <uint32_t Rows>
  uint32_t some_rows(uint32_t left, uint32_t unit, uint32_t at) noexcept {
    if constexpr (Rows > 1)
      if (left < Rows)
        return some_rows<Rows - 1>(left, unit, at);
    auto any = false;
    for (auto r = 0u; r < Rows; ++r)
      any = any || (task_.lengths[unit + r] > at && task_.starts[unit + r] < at + tile_tokens);
    if (any) {
      float shrink[Rows];
      score<Rows>(unit);
      for (auto r = 0u; r < Rows; ++r)
        shrink[r] = weigh(unit + r, r, at);
      add_values<Rows>(unit, shrink);
    }
    return Rows;
  }

  static __m512 dot(__m512 sum, uint32_t pair, const uint32_t* pairs) noexcept {
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32(static_cast<int>(pair)),
                            (__m512bh)_mm512_loadu_si512(pairs));
  }

  template <uint32_t Rows>
  void score(uint32_t unit) noexcept {
    __m512 sums[Rows][vectors];
#pragma GCC unroll 8
    for (auto r = 0u; r < Rows; ++r)
#pragma GCC unroll 4
      for (auto v = 0u; v < vectors; ++v)
        sums[r][v] = _mm512_setzero_ps();
    auto* q = queries_ + unit * half_;
    auto* k = keys_;
    for (auto d = 0u; d < half_; ++d, k += tile_tokens)
#pragma GCC unroll 8
      for (auto r = 0u; r < Rows; ++r)
#pragma GCC unroll 4
        for (auto v = 0u; v < vectors; ++v)
          sums[r][v] = dot(sums[r][v], q[r * half_ + d], k + v * 16);
#pragma GCC unroll 8
    for (auto r = 0u; r < Rows; ++r)
#pragma GCC unroll 4
      for (auto v = 0u; v < vectors; ++v)
        _mm512_store_ps(scores_[r] + v * 16, sums[r][v]);
  }

  /// 2^x for x <= 0, to about 2e-6 of its value: the weights are rounded to bf16 anyway.
  static __m512 power_of_two(__m512 x) noexcept {
    auto whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    auto r = _mm512_sub_ps(x, whole);
    auto p = _mm512_fmadd_ps(_mm512_set1_ps(1.33336e-3f), r, _mm512_set1_ps(9.61817e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.550411e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.4022651e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.9314718e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1));
    return _mm512_scalef_ps(p, whole);
  }

  /// Turns row `r` of the scores into weights of the unit; returns by how much its earlier sums shrink.
  float weigh(uint32_t unit, uint32_t r, uint32_t at) noexcept {
    auto start = task_.starts[unit] > at ? task_.starts[unit] - at : 0;
    auto end = task_.lengths[unit] > at ? task_.lengths[unit] - at : 0;
    if (start >= tile_tokens || end == 0) {
      for (auto v = 0u; v < vectors; ++v)
        _mm256_store_si256(reinterpret_cast<__m256i*>(weights_[r] + v * 8), _mm256_setzero_si256());
      return 1;
    }
    __m512 x[vectors];
    auto lowest = _mm512_set1_ps(-__builtin_inff());
    for (auto v = 0u; v < vectors; ++v)
      x[v] = _mm512_load_ps(scores_[r] + v * 16);
    if (start > 0 || end < tile_tokens) {
      auto wanted = (end >= tile_tokens ? ~uint64_t{0} : (uint64_t{1} << end) - 1) & (~uint64_t{0} << start);
      for (auto v = 0u; v < vectors; ++v)
        x[v] = _mm512_mask_blend_ps(static_cast<__mmask16>(wanted >> (16 * v)), lowest, x[v]);
    }
    auto highest = x[0];
    for (auto v = 1u; v < vectors; ++v)
      highest = _mm512_max_ps(highest, x[v]);
    auto top = _mm512_reduce_max_ps(highest);
    auto shrink = 1.0f;
    if (top > tops_[unit]) {
      shrink = _mm512_cvtss_f32(power_of_two(_mm512_set1_ps(tops_[unit] - top)));
      tops_[unit] = top;
    }
    auto sum = _mm512_setzero_ps();
    for (auto v = 0u; v < vectors; ++v) {
      auto weight = power_of_two(_mm512_sub_ps(x[v], _mm512_set1_ps(tops_[unit])));
      sum = _mm512_add_ps(sum, weight);
      _mm256_store_si256(reinterpret_cast<__m256i*>(weights_[r] + v * 8), (__m256i)_mm512_cvtneps_pbh(weight));
    }
    totals_[unit] = totals_[unit] * shrink + _mm512_reduce_add_ps(sum);
    return shrink;
  }

  template <uint32_t Rows>
  void add_values(uint32_t unit, const float* shrink) noexcept {
    auto d = 0u;
    for (; d + 64 <= task_.head_dim; d += 64)
      add_columns<Rows, 4>(unit, shrink, d);
    for (; d < task_.head_dim; d += 16)
      add_columns<Rows, 1>(unit, shrink, d);
  }

  /// sums = sums × shrink + weights × V, for `Vectors` × 16 columns from `d` on.
  template <uint32_t Rows, uint32_t Vectors>
  void add_columns(uint32_t unit, const float* shrink, uint32_t d) noexcept {
    auto* to = sums_ + unit * task_.head_dim + d;
    __m512 sums[Rows][Vectors];
#pragma GCC unroll 8
    for (auto r = 0u; r < Rows; ++r)
#pragma GCC unroll 4
      for (auto v = 0u; v < Vectors; ++v)
        sums[r][v] = _mm512_mul_ps(_mm512_set1_ps(shrink[r]), _mm512_loadu_ps(to + r * task_.head_dim + v * 16));
    auto* values = values_ + d;
    for (auto t = 0u; t < tile_tokens / 2; ++t, values += task_.head_dim)
#pragma GCC unroll 8
      for (auto r = 0u; r < Rows; ++r)
#pragma GCC unroll 4
        for (auto v = 0u; v < Vectors; ++v)
          sums[r][v] = dot(sums[r][v], weights_[r][t], values + v * 16);
#pragma GCC unroll 8
    for (auto r = 0u; r < Rows; ++r)
#pragma GCC unroll 4
      for (auto v = 0u; v < Vectors; ++v)
        _mm512_storeu_ps(to + r * task_.head_dim + v * 16, sums[r][v]);
  }

  const attention_task& task_;
  const uint32_t half_;
  uint32_t* keys_;
  uint32_t* values_;
  float* sums_;
  uint32_t* queries_;
  float tops_[attention_units_max];
  float totals_[attention_units_max];
  alignas(64) float scores_[rows_max][tile_tokens];
  alignas(64) uint32_t weights_[rows_max][tile_tokens / 2]; ///< pairs of neighbouring tokens
};

void attention_bf16_dot(const attention_task& task) noexcept {
  bf16_attention{task}.run();
}

} // namespace

} // namespace perigee::kernels::cpu
