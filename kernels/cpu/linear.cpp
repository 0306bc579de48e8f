// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/linear.hpp"

#include "kernels/cpu/dnnl_gemm.hpp"
#include "kernels/cpu/q8_block.hpp"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace perigee::kernels::cpu {

namespace {

// Fewer multiply-adds than this are done before a helper has woken up.
constexpr auto serial_work_max = uint64_t{200'000};
// So many words are brought into another order in that time.
constexpr auto serial_words_max = uint64_t{4'000};
// Below this many rows our kernels, made for few rows, are as fast as oneDNN or faster.
constexpr auto dnnl_rows_min = uint32_t{128};

} // namespace

void activations::reshape(uint32_t rows, uint32_t k, input_form form) {
  k_ = k;
  form_ = form;
  auto padded = stored_k(dtype::bf16, k);
  stride_ = form == input_form::q8 ? padded / q8_block_numbers : form == input_form::bf16 ? padded : k;
  auto bytes = rows * stride_ * element_bytes();
  if (memory_.size() < bytes)
    memory_ = aligned_buffer<std::byte>{bytes};
}

size_t activations::element_bytes() const noexcept {
  return form_ == input_form::q8 ? sizeof(q8_block) : form_ == input_form::bf16 ? 2 : 4;
}

void activations::set(const ops& table, uint32_t row, const float* values) noexcept {
  auto* to = memory_.data() + row * stride_ * element_bytes();
  if (form_ == input_form::f32) {
    std::memcpy(to, values, k_ * sizeof(float));
  } else if (form_ == input_form::q8) {
    table.quantize_q8(values, k_, reinterpret_cast<q8_block*>(to));
  } else {
    auto* out = reinterpret_cast<uint16_t*>(to);
    table.to_bf16(values, k_, out);
    std::fill(out + k_, out + stride_, uint16_t{0});
  }
}

linear::linear(const ops& table, thread_pool& pool, bool fixed_order)
  : table_(table), pool_(pool), share_(pool.threads()) {
  if (!fixed_order && form_for(dtype::bf16) == input_form::bf16 && dnnl_gemm::pays())
    dnnl_ = std::make_unique<dnnl_gemm>(pool);
}

linear::~linear() = default;

void linear::interleave(const activations& in, uint32_t rows) {
  auto pairs = (in.k() + 1) / 2;
  auto words = size_t{rows} * pairs;
  if (interleaved_.size() < words)
    interleaved_ = aligned_buffer<uint32_t>{words};
  auto blocks = (pairs + interleave_pairs - 1) / interleave_pairs;
  auto pieces = words <= serial_words_max ? 1u : std::min(blocks, pool_.threads());
  pool_.run(pieces, [&](uint32_t piece, uint32_t) {
    auto begin = static_cast<uint32_t>(uint64_t{blocks} * piece / pieces) * interleave_pairs;
    auto end = static_cast<uint32_t>(uint64_t{blocks} * (piece + 1) / pieces) * interleave_pairs;
    table_.interleave_bf16(static_cast<const uint16_t*>(in.data()), in.stride(), rows, in.k(), begin,
                           std::min(end, pairs), interleaved_.data());
  });
}

void linear::apply(const packed_matrix& matrix, const activations& in, uint32_t rows, float* out, size_t out_stride,
                   bool accumulate) {
  assert(in.k() == matrix.k() && in.form() == form_for(matrix.type()));
  if (dnnl_ && in.form() == input_form::bf16 && rows >= dnnl_rows_min) {
    dnnl_->apply(matrix, static_cast<const uint16_t*>(in.data()), in.stride(), rows, out, out_stride, accumulate);
    return;
  }
  auto kernel = in.form() == input_form::q8     ? table_.gemm_q8
                : in.form() == input_form::bf16 ? table_.gemm_bf16_dot
                : matrix.type() == dtype::bf16  ? table_.gemm_bf16
                : matrix.type() == dtype::f16   ? table_.gemm_f16
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
  if (in.form() == input_form::bf16 && rows >= batch_rows_min && rows <= batch_rows_max) {
    kernel = table_.gemm_bf16_batch;
    interleave(in, rows);
    task.a = interleaved_.data();
  }
  auto work = uint64_t{rows} * matrix.k() * matrix.n();
  // Each thread reads long runs of memory; many pieces even out disturbances.
  auto pieces = work <= serial_work_max ? 1u : std::min(matrix.panels(), pool_.threads() * 16);
  auto panels = matrix.panels();
  share_.deal(pieces);
  pool_.run(pieces, [&](uint32_t, uint32_t thread) {
    auto piece = share_.take(thread);
    auto mine = task;
    mine.panel_begin = static_cast<uint32_t>(uint64_t{panels} * piece / pieces);
    mine.panel_end = static_cast<uint32_t>(uint64_t{panels} * (piece + 1) / pieces);
    kernel(mine);
  });
}

} // namespace perigee::kernels::cpu
