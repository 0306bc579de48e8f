// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/linear.hpp"

#include "kernels/cpu/dnnl_gemm.hpp"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace perigee::kernels::cpu {

namespace {

// Fewer multiply-adds than this are done before a helper has woken up.
constexpr auto serial_work_max = uint64_t{200'000};
// Below this many rows our kernels, made for few rows, are as fast as oneDNN or faster.
constexpr auto dnnl_rows_min = uint32_t{128};

} // namespace

void activations::reshape(uint32_t rows, uint32_t k, bool bf16) {
  k_ = k;
  bf16_ = bf16;
  stride_ = bf16 ? stored_k(dtype::bf16, k) : k;
  auto bytes = rows * stride_ * (bf16 ? 2 : 4);
  if (memory_.size() < bytes)
    memory_ = aligned_buffer<std::byte>{bytes};
}

void activations::set(const ops& table, uint32_t row, const float* values) noexcept {
  if (!bf16_) {
    std::memcpy(memory_.data() + row * stride_ * 4, values, k_ * sizeof(float));
    return;
  }
  auto* out = reinterpret_cast<uint16_t*>(memory_.data()) + row * stride_;
  table.to_bf16(values, k_, out);
  std::fill(out + k_, out + stride_, uint16_t{0});
}

linear::linear(const ops& table, thread_pool& pool, bool fixed_order) : table_(table), pool_(pool) {
  if (!fixed_order && wants_bf16(dtype::bf16) && dnnl_gemm::pays())
    dnnl_ = std::make_unique<dnnl_gemm>(pool);
}

linear::~linear() = default;

void linear::apply(const packed_matrix& matrix, const activations& in, uint32_t rows, float* out, size_t out_stride,
                   bool accumulate) {
  assert(in.k() == matrix.k() && in.bf16() == wants_bf16(matrix.type()));
  if (dnnl_ && in.bf16() && rows >= dnnl_rows_min) {
    dnnl_->apply(matrix, static_cast<const uint16_t*>(in.data()), in.stride(), rows, out, out_stride, accumulate);
    return;
  }
  auto kernel = in.bf16()                      ? table_.gemm_bf16_dot
                : matrix.type() == dtype::bf16 ? table_.gemm_bf16
                : matrix.type() == dtype::f16  ? table_.gemm_f16
                                               : table_.gemm_f32;
  auto task = gemm_task{};
  task.a = in.data();
  task.a_stride = in.stride();
  task.rows = rows;
  task.panels = matrix.data();
  task.panel_bytes = matrix.panel_bytes();
  task.k = matrix.k();
  task.n = matrix.n();
  task.c = out;
  task.c_stride = out_stride;
  task.accumulate = accumulate;
  auto work = uint64_t{rows} * matrix.k() * matrix.n();
  // Neighbouring panels in one task: each thread reads long runs of memory. A few tasks a thread even out disturbances.
  auto pieces = work <= serial_work_max ? 1u : std::min(matrix.panels(), pool_.threads() * 16);
  auto panels = matrix.panels();
  pool_.run(pieces, [&](uint32_t piece, uint32_t) {
    auto mine = task;
    mine.panel_begin = static_cast<uint32_t>(uint64_t{panels} * piece / pieces);
    mine.panel_end = static_cast<uint32_t>(uint64_t{panels} * (piece + 1) / pieces);
    kernel(mine);
  });
}

} // namespace perigee::kernels::cpu
