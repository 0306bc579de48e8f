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

} // namespace perigee::kernels::cpu::simd
