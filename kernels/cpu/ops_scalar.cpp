// SPDX-License-Identifier: Apache-2.0
// The reference: plain loops, products and sums rounded one by one, no library function whose result could differ from
// machine to machine. Deterministic runs use it, and every faster kernel is compared with it.
#include "kernels/cpu/ops.hpp"
#include "kernels/cpu/q8_block.hpp"
#include "kernels/model/dtype.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace perigee::kernels::cpu {

namespace {

/// e^x for |x| up to about 87, to about 2 units in the last place. Cody-Waite reduction and a polynomial, as in the
/// vector kernels.
float exponential(float x) noexcept {
  x = std::min(std::max(x, -87.3f), 88.0f);
  auto n = std::nearbyint(x * 1.44269504f);
  auto r = x - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  auto p = 1.0f / 720;
  for (auto coefficient : {1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f})
    p = p * r + coefficient;
  return p * std::bit_cast<float>(static_cast<uint32_t>(static_cast<int32_t>(n) + 127) << 23);
}

void rms_norm(const float* x, const float* weight, float eps, uint32_t n, float* out) noexcept {
  auto sum = 0.0f;
  for (auto i = 0u; i < n; ++i)
    sum += x[i] * x[i];
  auto scale = 1 / std::sqrt(sum / static_cast<float>(n) + eps);
  for (auto i = 0u; i < n; ++i)
    out[i] = x[i] * scale * weight[i];
}

void rope(float* head, const float* cosines, const float* sines, uint32_t half) noexcept {
  for (auto i = 0u; i < half; ++i) {
    auto a = head[i];
    auto b = head[i + half];
    head[i] = a * cosines[i] - b * sines[i];
    head[i + half] = b * cosines[i] + a * sines[i];
  }
}

void swiglu(const float* gate, const float* up, uint32_t n, float* out) noexcept {
  for (auto i = 0u; i < n; ++i)
    out[i] = gate[i] / (1 + exponential(-gate[i])) * up[i];
}

struct f32_element {
  static constexpr auto columns = panel_columns;
  static constexpr auto bytes = size_t{4};
  static float load(const std::byte* at) noexcept {
    auto value = 0.0f;
    std::memcpy(&value, at, 4);
    return value;
  }
  static size_t panel_index(uint32_t k, uint32_t column) noexcept {
    return size_t{k} * columns + column;
  }
};

template <float (*Widen)(uint16_t)>
struct half_element {
  static constexpr auto bytes = size_t{2};
  static float load(const std::byte* at) noexcept {
    auto bits = uint16_t{0};
    std::memcpy(&bits, at, 2);
    return Widen(bits);
  }
};

struct f16_element : half_element<f16_to_f32> {
  static constexpr auto columns = panel_columns;
  static size_t panel_index(uint32_t k, uint32_t column) noexcept {
    return size_t{k} * columns + column;
  }
};

struct bf16_element : half_element<bf16_to_f32> {
  static constexpr auto columns = panel_columns_bf16;
  static size_t panel_index(uint32_t k, uint32_t column) noexcept {
    return (size_t{k / 2} * columns + column) * 2 + k % 2;
  }
};

template <class Element>
void gemm(const gemm_task& task) noexcept {
  for (auto panel = task.panel_begin; panel < task.panel_end; ++panel) {
    auto* b = task.panels + panel * task.panel_bytes;
    auto first = panel * Element::columns;
    auto columns = std::min(Element::columns, task.n - first);
    for (auto row = 0u; row < task.rows; ++row) {
      auto* a = static_cast<const float*>(task.a) + row * task.a_stride;
      float sums[Element::columns] = {};
      for (auto k = 0u; k < task.k; ++k)
        for (auto column = 0u; column < columns; ++column)
          sums[column] += a[k] * Element::load(b + Element::panel_index(k, column) * Element::bytes);
      auto* c = task.c + row * task.c_stride + first;
      for (auto column = 0u; column < columns; ++column)
        c[column] = task.accumulate ? c[column] + sums[column] : sums[column];
    }
  }
}

void quantize_q8(const float* x, uint32_t n, q8_block* out) noexcept {
  for (auto at = 0u; at < n; at += q8_block_numbers, ++out) {
    auto count = std::min(q8_block_numbers, n - at);
    auto largest = 0.0f;
    for (auto i = 0u; i < count; ++i)
      largest = std::max(largest, std::abs(x[at + i]));
    *out = {};
    out->scale = largest / 127;
    auto inverse = largest > 0 ? 127 / largest : 0;
    auto sum = 0;
    for (auto i = 0u; i < count; ++i) {
      out->q[i] = static_cast<int8_t>(std::nearbyint(x[at + i] * inverse));
      sum += out->q[i];
    }
    out->bias = -128 * sum;
  }
}

void gemm_q8(const gemm_task& task) noexcept {
  auto blocks = (task.k + q8_block_numbers - 1) / q8_block_numbers;
  for (auto panel = task.panel_begin; panel < task.panel_end; ++panel) {
    auto first = panel * panel_columns_bf16;
    for (auto row = 0u; row < task.rows; ++row)
      for (auto column = 0u; column < std::min(panel_columns_bf16, task.n - first); ++column) {
        auto* b = task.panels + panel * task.panel_bytes;
        auto sum = 0.0f;
        for (auto block = 0u; block < blocks; ++block, b += q8_panel_block_bytes) {
          const auto& a = static_cast<const q8_block*>(task.a)[row * task.a_stride + block];
          auto whole = a.bias;
          for (auto i = 0u; i < q8_block_numbers; ++i)
            whole += a.q[i] * std::to_integer<int>(b[(i / 4 * panel_columns_bf16 + column) * 4 + i % 4]);
          auto scale = f16_element::load(b + panel_columns_bf16 * q8_block_numbers + 2 * size_t{column});
          sum += static_cast<float>(whole) * (scale * a.scale);
        }
        auto& c = task.c[row * task.c_stride + first + column];
        c = task.accumulate ? c + sum : sum;
      }
  }
}

/// One unit: online softmax over tiles, so that the faster kernels can be compared step by step.
template <class Element>
void attend(const attention_task& task, uint32_t unit) noexcept {
  auto* q = task.q[unit];
  auto* out = task.out[unit];
  auto length = task.lengths[unit];
  auto head_bytes = size_t{unit / task.head_units()} * task.head_dim * task.block_tokens * Element::bytes;
  std::fill(out, out + task.head_dim, 0.0f);
  auto top = -std::numeric_limits<float>::infinity();
  auto total = 0.0f;
  for (auto at = tile_begin(task.starts[unit], task.block_tokens); at < length;) {
    const auto* block = task.blocks[at / task.block_tokens];
    auto offset = at % task.block_tokens;
    auto count = std::min({attention_tile, task.block_tokens - offset, length - at});
    auto first = std::max(at, task.starts[unit]) - at;
    auto* k = block + task.k_offset + head_bytes;
    auto* v = block + task.v_offset + head_bytes;
    float scores[attention_tile];
    auto highest = top;
    for (auto t = first; t < count; ++t) {
      scores[t] = 0;
      for (auto d = 0u; d < task.head_dim; ++d)
        scores[t] += q[d] * Element::load(k + (size_t{d} * task.block_tokens + offset + t) * Element::bytes);
      highest = std::max(highest, scores[t]);
    }
    auto correction = exponential(top - highest);
    top = highest;
    total *= correction;
    for (auto d = 0u; d < task.head_dim; ++d)
      out[d] *= correction;
    for (auto t = first; t < count; ++t) {
      auto weight = exponential(scores[t] - top);
      total += weight;
      for (auto d = 0u; d < task.head_dim; ++d)
        out[d] += weight * Element::load(v + (size_t{offset + t} * task.head_dim + d) * Element::bytes);
    }
    at += count;
  }
  for (auto d = 0u; d < task.head_dim; ++d)
    out[d] /= total;
}

template <class Element>
void attention(const attention_task& task) noexcept {
  for (auto unit = 0u; unit < task.units; ++unit)
    attend<Element>(task, unit);
}

} // namespace

const ops scalar_ops = {
  .name = "scalar",
  .rms_norm = rms_norm,
  .rope = rope,
  .swiglu = swiglu,
  .gemm_f32 = gemm<f32_element>,
  .gemm_f16 = gemm<f16_element>,
  .gemm_bf16 = gemm<bf16_element>,
  .gemm_bf16_dot = nullptr,
  .gemm_bf16_batch = nullptr,
  .interleave_bf16 = nullptr,
  .to_bf16 = nullptr,
  .gemm_q8 = gemm_q8,
  .quantize_q8 = quantize_q8,
  .attention_f32 = attention<f32_element>,
  .attention_f16 = attention<f16_element>,
  .attention_bf16 = attention<bf16_element>,
  .attention_bf16_dot = nullptr,
};

} // namespace perigee::kernels::cpu
