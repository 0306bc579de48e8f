// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cpu/ops.hpp"

/// The kernels over vectors of any width. `V` wraps one instruction set's vector of floats and stands in an anonymous
/// namespace of the file that is compiled with that set's flags, so that everything here is private to that file.
/// Nothing from the standard library is called: an out-of-line copy made with these flags could end up in code for any
/// processor.
namespace perigee::kernels::cpu::simd {

template <class V>
void rms_norm(const float* x, const float* weight, float eps, uint32_t n, float* out) noexcept {
  auto sums = V::zero();
  auto i = 0u;
  for (; i + V::width <= n; i += V::width) {
    auto value = V::load(x + i);
    sums = V::fma(value, value, sums);
  }
  auto sum = V::sum(sums);
  for (; i < n; ++i)
    sum += x[i] * x[i];
  auto scale = 1 / __builtin_sqrtf(sum / static_cast<float>(n) + eps);
  auto scales = V::set(scale);
  for (i = 0; i + V::width <= n; i += V::width)
    V::store(out + i, V::mul(V::mul(V::load(x + i), scales), V::load(weight + i)));
  for (; i < n; ++i)
    out[i] = x[i] * scale * weight[i];
}

template <class V>
void rope(float* head, const float* cosines, const float* sines, uint32_t half) noexcept {
  auto i = 0u;
  for (; i + V::width <= half; i += V::width) {
    auto a = V::load(head + i);
    auto b = V::load(head + half + i);
    auto c = V::load(cosines + i);
    auto s = V::load(sines + i);
    V::store(head + i, V::sub(V::mul(a, c), V::mul(b, s)));
    V::store(head + half + i, V::add(V::mul(b, c), V::mul(a, s)));
  }
  for (; i < half; ++i) {
    auto a = head[i];
    auto b = head[i + half];
    head[i] = a * cosines[i] - b * sines[i];
    head[i + half] = b * cosines[i] + a * sines[i];
  }
}

/// e^x to about 2 units in the last place for |x| up to 87; beyond, the value at the limit. Cody-Waite reduction.
template <class V>
auto exponential(typename V::type x) noexcept {
  x = V::min(V::max(x, V::set(-87.3f)), V::set(88.0f));
  auto n = V::round(V::mul(x, V::set(1.44269504f)));
  auto r = V::fma(n, V::set(-0.693359375f), x);
  r = V::fma(n, V::set(2.12194440e-4f), r);
  auto p = V::fma(V::set(1.0f / 720), r, V::set(1.0f / 120));
  p = V::fma(p, r, V::set(1.0f / 24));
  p = V::fma(p, r, V::set(1.0f / 6));
  p = V::fma(p, r, V::set(0.5f));
  p = V::fma(p, r, V::set(1.0f));
  p = V::fma(p, r, V::set(1.0f));
  return V::mul(p, V::power_of_two(n));
}

template <class V>
void swiglu(const float* gate, const float* up, uint32_t n, float* out) noexcept {
  auto block = [](const float* g, const float* u, float* o) {
    auto value = V::load(g);
    auto bottom = V::add(V::set(1), exponential<V>(V::sub(V::zero(), value)));
    V::store(o, V::mul(V::div(value, bottom), V::load(u)));
  };
  auto i = 0u;
  for (; i + V::width <= n; i += V::width)
    block(gate + i, up + i, out + i);
  if (i < n) {
    float tail[3][V::width] = {};
    for (auto j = i; j < n; ++j) {
      tail[0][j - i] = gate[j];
      tail[1][j - i] = up[j];
    }
    block(tail[0], tail[1], tail[2]);
    for (auto j = i; j < n; ++j)
      out[j] = tail[2][j - i];
  }
}

/// Elements of a panel or of KV, widened to f32.
template <class V>
struct f32_element {
  static constexpr uint32_t bytes = 4;
  static auto load(const std::byte* at) noexcept {
    return V::load(reinterpret_cast<const float*>(at));
  }
};
template <class V>
struct f16_element {
  static constexpr uint32_t bytes = 2;
  static auto load(const std::byte* at) noexcept {
    return V::load_f16(at);
  }
};
template <class V>
struct bf16_element {
  static constexpr uint32_t bytes = 2;
  static auto load(const std::byte* at) noexcept {
    return V::load_bf16(at);
  }
};

/// Writes `Vectors` vectors of sums to one row of c, of which `columns` numbers are wanted.
template <class V, uint32_t Vectors>
void put(const typename V::type* sums, float* c, uint32_t columns, bool accumulate) noexcept {
  if (columns >= Vectors * V::width) {
    for (auto v = 0u; v < Vectors; ++v)
      V::store(c + v * V::width, accumulate ? V::add(V::load(c + v * V::width), sums[v]) : sums[v]);
    return;
  }
  float all[Vectors * V::width];
  for (auto v = 0u; v < Vectors; ++v)
    V::store(all + v * V::width, sums[v]);
  for (auto i = 0u; i < columns; ++i)
    c[i] = accumulate ? c[i] + all[i] : all[i];
}

/// Panels of 32 columns, one k at a time: f32 and f16 weights.
template <class V, template <class> class Element>
struct plain_panel {
  static constexpr uint32_t columns = panel_columns;
  static constexpr uint32_t parts = 1;
  static constexpr uint32_t vectors = columns / V::width;
  using input = float;

  template <uint32_t Rows>
  static void multiply(const float* a, size_t stride, const std::byte* panel, uint32_t, uint32_t k_size,
                       typename V::type (&sums)[Rows][vectors]) noexcept {
    for (auto k = 0u; k < k_size; ++k, panel += columns * Element<V>::bytes) {
      typename V::type b[vectors];
#pragma GCC unroll 8
      for (auto v = 0u; v < vectors; ++v)
        b[v] = Element<V>::load(panel + v * V::width * Element<V>::bytes);
#pragma GCC unroll 16
      for (auto r = 0u; r < Rows; ++r) {
        auto x = V::set(a[r * stride + k]);
#pragma GCC unroll 8
        for (auto v = 0u; v < vectors; ++v)
          sums[r][v] = V::fma(x, b[v], sums[r][v]);
      }
    }
  }
};

/// Panels of 64 columns whose bf16 elements stand in pairs of neighbouring k: two parts of 32 columns, f32 input.
template <class V>
struct paired_panel {
  static constexpr uint32_t columns = panel_columns_bf16;
  static constexpr uint32_t parts = 2;
  static constexpr uint32_t vectors = columns / parts / V::width;
  using input = float;

  template <uint32_t Rows>
  static void multiply(const float* a, size_t stride, const std::byte* panel, uint32_t part, uint32_t k_size,
                       typename V::type (&sums)[Rows][vectors]) noexcept {
    panel += part * vectors * V::width * 4;
    for (auto k = 0u; k < k_size; k += 2, panel += columns * 4) {
      typename V::type low[vectors];
      typename V::type high[vectors];
#pragma GCC unroll 8
      for (auto v = 0u; v < vectors; ++v)
        V::load_bf16_pairs(panel + v * V::width * 4, low[v], high[v]);
#pragma GCC unroll 16
      for (auto r = 0u; r < Rows; ++r) {
        auto x = V::set(a[r * stride + k]);
        auto y = k + 1 < k_size ? V::set(a[r * stride + k + 1]) : V::zero();
#pragma GCC unroll 8
        for (auto v = 0u; v < vectors; ++v)
          sums[r][v] = V::fma(y, high[v], V::fma(x, low[v], sums[r][v]));
      }
    }
  }
};

template <class V, class Panel, uint32_t Rows>
void gemm_rows(const gemm_task& task, const std::byte* panel, uint32_t part, uint32_t row, uint32_t first) noexcept {
  typename V::type sums[Rows][Panel::vectors];
#pragma GCC unroll 16
  for (auto r = 0u; r < Rows; ++r)
#pragma GCC unroll 8
    for (auto v = 0u; v < Panel::vectors; ++v)
      sums[r][v] = V::zero();
  auto* a = static_cast<const typename Panel::input*>(task.a) + row * task.a_stride;
  Panel::template multiply<Rows>(a, task.a_stride, panel, part, task.k, sums);
#pragma GCC unroll 16
  for (auto r = 0u; r < Rows; ++r)
    put<V, Panel::vectors>(sums[r], task.c + (row + r) * task.c_stride + first, task.n - first, task.accumulate);
}

/// Calls `gemm_rows` compiled for exactly `rows` rows, `rows` <= Rows.
template <class V, class Panel, uint32_t Rows>
void gemm_some_rows(uint32_t rows, const gemm_task& task, const std::byte* panel, uint32_t part, uint32_t row,
                    uint32_t first) noexcept {
  if constexpr (Rows > 1)
    if (rows < Rows) {
      gemm_some_rows<V, Panel, Rows - 1>(rows, task, panel, part, row, first);
      return;
    }
  gemm_rows<V, Panel, Rows>(task, panel, part, row, first);
}

/// RowsMax: as many as the registers hold sums for.
template <class V, class Panel, uint32_t RowsMax>
void gemm(const gemm_task& task) noexcept {
  constexpr auto part_columns = Panel::columns / Panel::parts;
  for (auto index = task.panel_begin; index < task.panel_end; ++index)
    for (auto part = 0u; part < Panel::parts; ++part) {
      auto first = index * Panel::columns + part * part_columns;
      if (first >= task.n)
        break;
      auto groups = (task.rows + RowsMax - 1) / RowsMax;
      for (auto row = 0u; groups > 0; --groups) {
        auto rows = (task.rows - row + groups - 1) / groups; // equal shares rather than a small rest
        gemm_some_rows<V, Panel, RowsMax>(rows, task, task.panels + index * task.panel_bytes, part, row, first);
        row += rows;
      }
    }
}

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

/// Turns scores into weights relative to the highest score so far; returns by how much earlier sums shrink.
template <class V>
float weigh(float* scores, uint32_t count, running& state) noexcept {
  constexpr auto vectors = attention_tile / V::width;
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
void add_values(const float* weights, uint32_t count, const std::byte* v, size_t v_stride, float shrink,
                float* sums) noexcept {
  typename V::type sum[Vectors];
#pragma GCC unroll 8
  for (auto i = 0u; i < Vectors; ++i)
    sum[i] = V::mul(V::load(sums + i * V::width), V::set(shrink));
  for (auto t = 0u; t < count; ++t, v += v_stride * Element::bytes) {
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
void add_all_values(const float* weights, uint32_t count, const std::byte* v, size_t v_stride, float shrink,
                    float* sums, uint32_t width) noexcept {
  constexpr auto at_once = 4u * V::width;
  auto d = 0u;
  for (; d + at_once <= width; d += at_once)
    add_values<V, Element, 4>(weights, count, v + d * Element::bytes, v_stride, shrink, sums + d);
  for (; d < width; d += V::width)
    add_values<V, Element, 1>(weights, count, v + d * Element::bytes, v_stride, shrink, sums + d);
}

/// Some tokens that stand together in one block.
struct tile {
  uint32_t at;    ///< position of the first
  uint32_t count; ///< at most `attention_tile`
  const std::byte* k;
  const std::byte* v;
};

inline tile tile_at(const attention_task& task, uint32_t at, uint32_t element_bytes) noexcept {
  auto* block = task.base + task.slots[at / task.block_tokens] * task.block_bytes;
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
    }
    for (auto i = 0u; i < task.units * width_; ++i)
      sums_[i] = 0;
  }

  void run() noexcept {
    if (task_.units < many)
      for (auto at = 0u; at < longest_;)
        at = few_units(at);
    else
      for (auto at = 0u; at < longest_;)
        at = many_units(at);
    for (auto u = 0u; u < task_.units; ++u)
      for (auto d = 0u; d < task_.head_dim; ++d)
        task_.out[u][d] = sums_[u * width_ + d] / states_[u].total;
  }

private:
  static constexpr auto many = 4u; // units that make widening a tile once for all of them pay
  static constexpr auto bytes = Element<V>::bytes;

  /// One tile, widened, for all units.
  uint32_t many_units(uint32_t at) noexcept {
    auto now = tile_at(task_, at, bytes);
    widen_keys(now);
    widen_values(now);
    for (auto u = 0u; u < task_.units;) {
      if (!reaches(u, at)) {
        ++u;
      } else if (u + many <= task_.units && reaches(u + 1, at) && reaches(u + 2, at) && reaches(u + 3, at)) {
        const std::byte* k[] = {reinterpret_cast<const std::byte*>(k_tile_)};
        tile_scores<V, f32_element<V>, many, 1>(task_.q + u, task_.head_dim, k, attention_tile, scores_[u]);
        u += many;
      } else {
        widened_scores(u, scores_[u]);
        ++u;
      }
    }
    for (auto u = 0u; u < task_.units; ++u)
      if (reaches(u, at)) {
        auto valid = valid_tokens(u, now);
        auto shrink = weigh<V>(scores_[u], valid, states_[u]);
        add_all_values<V, f32_element<V>>(scores_[u], valid, reinterpret_cast<const std::byte*>(v_tile_), width_,
                                          shrink, sums_ + u * width_, width_);
      }
    return at + now.count;
  }

  /// Four tiles read where they are, unit after unit: four chains of sums keep the processor busy.
  uint32_t few_units(uint32_t at) noexcept {
    tile tiles[many];
    const std::byte* keys[many];
    auto whole = true;
    auto next = at;
    auto count = 0u;
    for (; count < many && next < longest_; ++count) {
      tiles[count] = tile_at(task_, next, bytes);
      keys[count] = tiles[count].k;
      whole = whole && tiles[count].count == attention_tile;
      next += tiles[count].count;
    }
    for (auto u = 0u; u < task_.units; ++u) {
      if (whole && count == many)
        tile_scores<V, Element<V>, 1, many>(task_.q + u, task_.head_dim, keys, task_.block_tokens, scores_[0]);
      else
        for (auto i = 0u; i < count; ++i) {
          widen_keys(tiles[i]);
          widened_scores(u, scores_[i]);
        }
      for (auto i = 0u; i < count && reaches(u, tiles[i].at); ++i) {
        auto valid = valid_tokens(u, tiles[i]);
        auto shrink = weigh<V>(scores_[i], valid, states_[u]);
        auto* sums = sums_ + u * width_;
        if (width_ == task_.head_dim) {
          add_all_values<V, Element<V>>(scores_[i], valid, tiles[i].v, width_, shrink, sums, width_);
        } else {
          widen_values(tiles[i]);
          add_all_values<V, f32_element<V>>(scores_[i], valid, reinterpret_cast<const std::byte*>(v_tile_), width_,
                                            shrink, sums, width_);
        }
      }
    }
    return next;
  }

  bool reaches(uint32_t unit, uint32_t at) const noexcept {
    return task_.lengths[unit] > at;
  }
  uint32_t valid_tokens(uint32_t unit, const tile& now) const noexcept {
    auto left = task_.lengths[unit] - now.at;
    return left < now.count ? left : now.count;
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
  uint32_t longest_ = 0;
  running states_[attention_units_max];
  alignas(64) float scores_[attention_units_max][attention_tile];
};

template <class V, template <class> class Element>
void attention(const attention_task& task) noexcept {
  attention_run<V, Element>{task}.run();
}

} // namespace perigee::kernels::cpu::simd
