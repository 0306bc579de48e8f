// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cpu/simd_kernels.hpp"

/// Attention over vectors of any width, in f32 arithmetic: what a unit gets does not depend on the others. The rules of
/// `simd_kernels.hpp` hold here too. Source: Milakov and Gimelshein 2018 (online softmax).
namespace perigee::kernels::cpu::simd {

/// Copies a [rows, columns] piece of KV to f32 rows of `width` numbers, zero-padded.
template <class V, template <class> class Element>
void widen_tile(const std::byte* from, size_t from_stride, uint32_t rows, uint32_t columns, float* to,
                uint32_t width) noexcept {
  for (auto r = 0u; r < rows; ++r, from += from_stride * Element<V>::bytes, to += width) {
    auto c = 0u;
    for (; c + V::width <= columns; c += V::width)
      V::store(to + c, Element<V>::load(from + c * Element<V>::bytes));
    if (c < columns) {
      alignas(64) std::byte rest[V::width * Element<V>::bytes] = {};
      __builtin_memcpy(rest, from + c * Element<V>::bytes, (columns - c) * Element<V>::bytes);
      V::store(to + c, Element<V>::load(rest));
      c += V::width;
    }
    for (; c < width; c += V::width)
      V::store(to + c, V::zero());
  }
}

/// scores[u × Tiles + i][t] = q[u] · K_i[:, t] for the 16 tokens of each tile; each a chain over head_dim in ascending
/// order.
template <class V, class Element, uint32_t Units, uint32_t Tiles>
void tile_scores(const float* const* q, uint32_t head_dim, const std::byte* const* k, size_t k_stride,
                 float* scores) noexcept {
  constexpr auto vectors = attention_tile / V::width;
  typename V::type sums[Units][Tiles * vectors];
#pragma GCC unroll 8
  for (auto u = 0u; u < Units; ++u)
#pragma GCC unroll 8
    for (auto v = 0u; v < Tiles * vectors; ++v)
      sums[u][v] = V::zero();
  for (auto d = 0u; d < head_dim; ++d) {
    typename V::type keys[Tiles * vectors];
#pragma GCC unroll 8
    for (auto v = 0u; v < Tiles * vectors; ++v)
      keys[v] = Element::load(k[v / vectors] + (d * k_stride + v % vectors * V::width) * Element::bytes);
#pragma GCC unroll 8
    for (auto u = 0u; u < Units; ++u) {
      auto x = V::set(q[u][d]);
#pragma GCC unroll 8
      for (auto v = 0u; v < Tiles * vectors; ++v)
        sums[u][v] = V::fma(x, keys[v], sums[u][v]);
    }
  }
#pragma GCC unroll 8
  for (auto u = 0u; u < Units; ++u)
#pragma GCC unroll 8
    for (auto v = 0u; v < Tiles * vectors; ++v)
      V::store(scores + u * Tiles * attention_tile + v * V::width, sums[u][v]);
}

/// Softmax state of one unit.
struct running {
  float top;
  float total;
};

/// Which tokens of a tile a unit attends: [first, end).
struct part {
  uint32_t first;
  uint32_t end;
};

/// Turns the scores of a part into weights relative to the highest score so far, and the others into zeros; returns by
/// how much earlier sums shrink.
template <class V>
float weigh(float* scores, part attended, running& state) noexcept {
  constexpr auto vectors = attention_tile / V::width;
  auto first = attended.first;
  auto count = attended.end;
  for (auto t = 0u; t < first; ++t)
    scores[t] = -__builtin_inff();
  for (auto t = count; t < attention_tile; ++t)
    scores[t] = -__builtin_inff();
  auto highest = V::load(scores);
  for (auto v = 1u; v < vectors; ++v)
    highest = V::max(highest, V::load(scores + v * V::width));
  auto top = V::highest(highest);
  auto shrink = 1.0f;
  if (top > state.top) {
    float all[V::width];
    V::store(all, exponential<V>(V::set(state.top - top)));
    shrink = all[0];
    state.top = top;
  }
  for (auto v = 0u; v < vectors; ++v)
    V::store(scores + v * V::width, exponential<V>(V::sub(V::load(scores + v * V::width), V::set(state.top))));
  for (auto t = 0u; t < first; ++t)
    scores[t] = 0;
  for (auto t = count; t < attention_tile; ++t)
    scores[t] = 0;
  auto sums = V::load(scores);
  for (auto v = 1u; v < vectors; ++v)
    sums = V::add(sums, V::load(scores + v * V::width));
  state.total = state.total * shrink + V::sum(sums);
  return shrink;
}

/// sums[d] = sums[d] × shrink + Σ weights[t] × V[t][d], for Vectors × width of the columns.
template <class V, class Element, uint32_t Vectors>
void add_values(const float* weights, part attended, const std::byte* v, size_t v_stride, float shrink,
                float* sums) noexcept {
  typename V::type sum[Vectors];
#pragma GCC unroll 8
  for (auto i = 0u; i < Vectors; ++i)
    sum[i] = V::mul(V::load(sums + i * V::width), V::set(shrink));
  v += attended.first * v_stride * Element::bytes;
  for (auto t = attended.first; t < attended.end; ++t, v += v_stride * Element::bytes) {
    auto weight = V::set(weights[t]);
#pragma GCC unroll 8
    for (auto i = 0u; i < Vectors; ++i)
      sum[i] = V::fma(weight, Element::load(v + i * V::width * Element::bytes), sum[i]);
  }
#pragma GCC unroll 8
  for (auto i = 0u; i < Vectors; ++i)
    V::store(sums + i * V::width, sum[i]);
}

/// The same for all `width` columns.
template <class V, class Element>
void add_all_values(const float* weights, part attended, const std::byte* v, size_t v_stride, float shrink, float* sums,
                    uint32_t width) noexcept {
  constexpr auto at_once = 4u * V::width;
  auto d = 0u;
  for (; d + at_once <= width; d += at_once)
    add_values<V, Element, 4>(weights, attended, v + d * Element::bytes, v_stride, shrink, sums + d);
  for (; d < width; d += V::width)
    add_values<V, Element, 1>(weights, attended, v + d * Element::bytes, v_stride, shrink, sums + d);
}

/// Some tokens that stand together in one block.
struct tile {
  uint32_t at;    ///< position of the first
  uint32_t count; ///< at most `attention_tile`
  const std::byte* k;
  const std::byte* v;
};

inline tile tile_at(const attention_task& task, uint32_t head, uint32_t at, uint32_t element_bytes) noexcept {
  const auto* block =
    task.blocks[at / task.block_tokens] + size_t{head} * task.head_dim * task.block_tokens * element_bytes;
  auto offset = at % task.block_tokens;
  auto left = task.block_tokens - offset;
  return {at, left < attention_tile ? left : attention_tile, block + task.k_offset + offset * element_bytes,
          block + task.v_offset + size_t{offset} * task.head_dim * element_bytes};
}

/// The units of one task on their way over the tiles. What a unit gets depends on its own scores alone, and in the same
/// order however the work is arranged.
template <class V, template <class> class Element>
class attention_run {
public:
  explicit attention_run(const attention_task& task) noexcept : task_(task), width_(padded_head(task.head_dim)) {
    k_tile_ = task.scratch; // [head_dim, 16]
    v_tile_ = k_tile_ + attention_tile * width_;
    sums_ = v_tile_ + attention_tile * width_; // [units, width]
    for (auto u = 0u; u < task.units; ++u) {
      states_[u] = {-__builtin_inff(), 0};
      longest_ = task.lengths[u] > longest_ ? task.lengths[u] : longest_;
      first_ = task.starts[u] < first_ || u == 0 ? task.starts[u] : first_;
    }
    first_ = tile_begin(first_, task.block_tokens);
    for (auto i = 0u; i < task.units * width_; ++i)
      sums_[i] = 0;
  }

  void run() noexcept {
    for (auto at = first_; at < longest_;) {
      auto next = at;
      for (auto head = 0u; head < task_.heads; ++head)
        next = task_.head_units() < many ? few_units(head, at) : many_units(head, at);
      at = next;
    }
    for (auto u = 0u; u < task_.units; ++u)
      for (auto d = 0u; d < task_.head_dim; ++d)
        task_.out[u][d] = sums_[u * width_ + d] / states_[u].total;
  }

private:
  static constexpr auto many = 4u; // units that make widening a tile once for all of them pay
  static constexpr auto bytes = Element<V>::bytes;

  /// One tile, widened, for all units of a head.
  uint32_t many_units(uint32_t head, uint32_t at) noexcept {
    auto now = tile_at(task_, head, at, bytes);
    auto end = (head + 1) * task_.head_units();
    widen_keys(now);
    widen_values(now);
    for (auto u = end - task_.head_units(); u < end;) {
      if (!attends(u, now)) {
        ++u;
      } else if (u + many <= end && attends(u + 1, now) && attends(u + 2, now) && attends(u + 3, now)) {
        const std::byte* k[] = {reinterpret_cast<const std::byte*>(k_tile_)};
        tile_scores<V, f32_element<V>, many, 1>(task_.q + u, task_.head_dim, k, attention_tile, scores_[u]);
        u += many;
      } else {
        widened_scores(u, scores_[u]);
        ++u;
      }
    }
    for (auto u = end - task_.head_units(); u < end; ++u)
      if (attends(u, now)) {
        auto attended = part_of(u, now);
        auto shrink = weigh<V>(scores_[u], attended, states_[u]);
        add_all_values<V, f32_element<V>>(scores_[u], attended, reinterpret_cast<const std::byte*>(v_tile_), width_,
                                          shrink, sums_ + u * width_, width_);
      }
    return at + now.count;
  }

  /// Four tiles of a head read where they are, unit after unit: four chains of sums keep the processor busy.
  uint32_t few_units(uint32_t head, uint32_t at) noexcept {
    tile tiles[many];
    const std::byte* keys[many];
    auto whole = true;
    auto next = at;
    auto count = 0u;
    for (; count < many && next < longest_; ++count) {
      tiles[count] = tile_at(task_, head, next, bytes);
      keys[count] = tiles[count].k;
      whole = whole && tiles[count].count == attention_tile;
      next += tiles[count].count;
    }
    auto end = (head + 1) * task_.head_units();
    for (auto u = end - task_.head_units(); u < end; ++u) {
      if (whole && count == many)
        tile_scores<V, Element<V>, 1, many>(task_.q + u, task_.head_dim, keys, task_.block_tokens, scores_[0]);
      else
        for (auto i = 0u; i < count; ++i) {
          widen_keys(tiles[i]);
          widened_scores(u, scores_[i]);
        }
      for (auto i = 0u; i < count; ++i) {
        if (!attends(u, tiles[i]))
          continue;
        auto attended = part_of(u, tiles[i]);
        auto shrink = weigh<V>(scores_[i], attended, states_[u]);
        auto* sums = sums_ + u * width_;
        if (width_ == task_.head_dim) {
          add_all_values<V, Element<V>>(scores_[i], attended, tiles[i].v, width_, shrink, sums, width_);
        } else {
          widen_values(tiles[i]);
          add_all_values<V, f32_element<V>>(scores_[i], attended, reinterpret_cast<const std::byte*>(v_tile_), width_,
                                            shrink, sums, width_);
        }
      }
    }
    return next;
  }

  bool attends(uint32_t unit, const tile& now) const noexcept {
    return task_.lengths[unit] > now.at && task_.starts[unit] < now.at + now.count;
  }
  part part_of(uint32_t unit, const tile& now) const noexcept {
    auto start = task_.starts[unit];
    auto left = task_.lengths[unit] - now.at;
    return {start > now.at ? start - now.at : 0, left < now.count ? left : now.count};
  }
  void widened_scores(uint32_t unit, float* scores) noexcept {
    const std::byte* k[] = {reinterpret_cast<const std::byte*>(k_tile_)};
    tile_scores<V, f32_element<V>, 1, 1>(task_.q + unit, task_.head_dim, k, attention_tile, scores);
  }
  void widen_keys(const tile& now) noexcept {
    widen_tile<V, Element>(now.k, task_.block_tokens, task_.head_dim, now.count, k_tile_, attention_tile);
  }
  void widen_values(const tile& now) noexcept {
    auto written = longest_ - now.at < now.count ? longest_ - now.at : now.count;
    widen_tile<V, Element>(now.v, task_.head_dim, written, task_.head_dim, v_tile_, width_);
  }

  const attention_task& task_;
  const uint32_t width_;
  float* k_tile_;
  float* v_tile_;
  float* sums_;
  uint32_t first_ = 0;
  uint32_t longest_ = 0;
  running states_[attention_units_max];
  alignas(64) float scores_[attention_units_max][attention_tile];
};

template <class V, template <class> class Element>
void attention(const attention_task& task) noexcept {
  attention_run<V, Element>{task}.run();
}

} // namespace perigee::kernels::cpu::simd
