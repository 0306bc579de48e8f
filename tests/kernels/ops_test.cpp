// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/dnnl_gemm.hpp"
#include "kernels/cpu/linear.hpp"
#include "kernels/cpu/packed_matrix.hpp"
#include "kernels/cpu/q8_block.hpp"
#include "tests/kernels/ops_support.hpp"

#include <array>
#include <cstring>

using namespace perigee;
using namespace perigee::kernels;
using namespace perigee::kernels::cpu;
using namespace perigee::kernels::test;

namespace {

/// A matrix and the memory it is packed into.
struct packed_fixture {
  packed_fixture(random_numbers& random, dtype type, uint32_t n, uint32_t k)
    : raw(random.stored(type, size_t{n} * k)), view{raw, type, n, k}, memory(packed_matrix::bytes_for({&view, 1})),
      matrix({&view, 1}, memory.data()) {}

  std::vector<std::byte> raw;
  matrix_view view;
  aligned_buffer<std::byte> memory;
  packed_matrix matrix;
};

void (*gemm_of(const ops& table, dtype type))(const gemm_task&) noexcept {
  return type == dtype::f32 ? table.gemm_f32 : type == dtype::f16 ? table.gemm_f16 : table.gemm_bf16;
}

gemm_task whole(const packed_matrix& matrix, const void* a, size_t a_stride, uint32_t rows, std::vector<float>& c) {
  auto task = gemm_task{};
  task.a = a;
  task.a_stride = a_stride;
  task.rows = rows;
  task.panels = matrix.data();
  task.panel_bytes = matrix.panel_bytes();
  task.k = matrix.k();
  task.n = matrix.n();
  task.panel_end = matrix.panels();
  task.c = c.data();
  task.c_stride = matrix.n();
  return task;
}

} // namespace

TEST_CASE("dtype: halves survive the way to f32 and back, and rounding goes to the nearest, ties to even") {
  for (auto bits = 0u; bits < 0x10000; ++bits) {
    auto half = static_cast<uint16_t>(bits);
    if ((half & 0x7c00) != 0x7c00 || (half & 0x3ff) == 0)
      REQUIRE_EQ(f32_to_f16(f16_to_f32(half)), half);
    if ((half & 0x7f80) != 0x7f80 || (half & 0x7f) == 0)
      REQUIRE_EQ(f32_to_bf16(bf16_to_f32(half)), half);
  }
  CHECK_EQ(f32_to_bf16(1.0f + 0x1p-8f), 0x3f80);     // a tie, down to even
  CHECK_EQ(f32_to_bf16(1.0f + 3 * 0x1p-8f), 0x3f82); // a tie, up to even
  CHECK_EQ(f32_to_f16(1.0f + 0x1p-11f), 0x3c00);
  CHECK_EQ(f32_to_f16(1.0f + 3 * 0x1p-11f), 0x3c02);
  CHECK_EQ(f32_to_f16(65519.0f), 0x7bff);
  CHECK_EQ(f32_to_f16(65520.0f), 0x7c00);
  CHECK_EQ(f32_to_f16(0x1p-25f), 0); // a tie below the smallest number
  CHECK(std::isnan(bf16_to_f32(f32_to_bf16(NAN))));
  CHECK(std::isnan(f16_to_f32(f32_to_f16(NAN))));
}

TEST_CASE("ops: norm, rotation and SwiGLU of every instruction set agree with the reference at any length") {
  auto random = random_numbers{1};
  for (const auto* fast : fast_sets())
    for (auto round = uint64_t{0}; round < testing::seeds(200); ++round) {
      CAPTURE(fast->name);
      auto n = random.from(1, 150);
      CAPTURE(n);
      auto x = random.floats(n, 8);
      auto y = random.floats(n, 2);
      auto expected = std::vector<float>(n);
      auto found = std::vector<float>(n);
      scalar_ops.rms_norm(x.data(), y.data(), 1e-5f, n, expected.data());
      fast->rms_norm(x.data(), y.data(), 1e-5f, n, found.data());
      REQUIRE_LE(largest_difference(expected, found), 1e-5f);
      scalar_ops.swiglu(x.data(), y.data(), n, expected.data());
      fast->swiglu(x.data(), y.data(), n, found.data());
      REQUIRE_LE(largest_difference(expected, found), 1e-5f);
      for (auto i = 0u; i < n; ++i)
        REQUIRE_EQ(expected[i],
                   doctest::Approx(x[i] / (1 + std::exp(-static_cast<double>(x[i]))) * y[i]).epsilon(1e-5));
      auto head = random.floats(2 * size_t{n});
      auto other = head;
      scalar_ops.rope(head.data(), x.data(), y.data(), n);
      fast->rope(other.data(), x.data(), y.data(), n);
      REQUIRE_LE(largest_difference(head, other), 1e-5f);
    }
}

TEST_CASE("ops: matrix products of every instruction set and type agree with the reference on random shapes") {
  auto random = random_numbers{2};
  for (auto round = uint64_t{0}; round < testing::seeds(60); ++round)
    for (auto type : all_types) {
      auto n = random.from(1, 200);
      auto k = random.from(1, 140);
      auto rows = random.from(1, 30);
      CAPTURE(n);
      CAPTURE(k);
      CAPTURE(rows);
      CAPTURE(to_string(type));
      auto fixture = packed_fixture{random, type, n, k};
      auto a = random.floats(size_t{rows} * k);
      auto start = random.floats(size_t{rows} * n);
      for (auto accumulate : {false, true}) {
        auto expected = start;
        auto task = whole(fixture.matrix, a.data(), k, rows, expected);
        task.accumulate = accumulate;
        gemm_of(scalar_ops, type)(task);
        // The reference itself, against the definition.
        auto row = random.from(0, rows - 1);
        auto column = random.from(0, n - 1);
        auto weights = std::vector<float>(k);
        widen(fixture.view.row(column), type, weights);
        auto sum = accumulate ? static_cast<double>(start[row * n + column]) : 0.0;
        for (auto i = 0u; i < k; ++i)
          sum += static_cast<double>(a[row * k + i]) * weights[i];
        REQUIRE_LE(std::abs(expected[row * n + column] - sum), 1e-4);
        for (const auto* fast : fast_sets()) {
          auto found = start;
          task.c = found.data();
          gemm_of(*fast, type)(task);
          REQUIRE_LE(largest_difference(expected, found), 1e-4f);
        }
      }
    }
}

TEST_CASE("ops: a row of a product has the same bits alone, among others, and for a part of the panels") {
  auto random = random_numbers{3};
  for (const auto* fast : fast_sets())
    for (auto type : all_types) {
      CAPTURE(fast->name);
      auto fixture = packed_fixture{random, type, 130, 77};
      auto rows = 29u;
      auto dot = type == dtype::bf16 && fast->gemm_bf16_dot != nullptr;
      auto in = activations{};
      in.reshape(rows, 77, dot ? input_form::bf16 : input_form::f32);
      auto a = random.floats(rows * 77);
      for (auto r = 0u; r < rows; ++r)
        in.set(*fast, r, a.data() + r * 77);
      auto kernel = dot ? fast->gemm_bf16_dot : gemm_of(*fast, type);
      auto together = std::vector<float>(rows * 130);
      kernel(whole(fixture.matrix, in.data(), in.stride(), rows, together));
      for (auto r = 0u; r < rows; ++r) {
        auto alone = std::vector<float>(130);
        auto bytes = in.stride() * (dot ? 2 : 4);
        auto task = whole(fixture.matrix, static_cast<const std::byte*>(in.data()) + r * bytes, in.stride(), 1, alone);
        for (auto panel = 0u; panel < fixture.matrix.panels(); ++panel) {
          task.panel_begin = panel;
          task.panel_end = panel + 1;
          kernel(task);
        }
        REQUIRE(std::memcmp(alone.data(), together.data() + r * 130, 130 * 4) == 0);
      }
    }
}

TEST_CASE(
  "ops: a batch of bf16 rows has the bits that each row has alone, whatever the shape and the part of the panels") {
  if (best_instruction_set() < instruction_set::avx512_bf16)
    return testing::skip("the processor has no AVX-512 BF16");
  auto random = random_numbers{11};
  const auto& table = ops_for(instruction_set::avx512_bf16);
  for (auto round = uint64_t{0}; round < testing::seeds(60); ++round) {
    auto n = random.from(1, 300);
    auto k = random.from(1, 500); // pieces of 128, with rests
    auto rows = random.from(batch_rows_min, batch_rows_max);
    CAPTURE(n);
    CAPTURE(k);
    CAPTURE(rows);
    auto fixture = packed_fixture{random, dtype::bf16, n, k};
    auto in = activations{};
    in.reshape(rows, k, input_form::bf16);
    auto values = random.floats(size_t{rows} * k);
    for (auto r = 0u; r < rows; ++r)
      in.set(table, r, values.data() + size_t{r} * k);
    auto* a = static_cast<const uint16_t*>(in.data());
    auto words = size_t{rows} * ((k + 1) / 2);
    auto interleaved = std::vector<uint32_t>(words + 1, 0xdeadbeef);
    auto pairs = (k + 1) / 2;
    auto middle = pairs / 2 / interleave_pairs * interleave_pairs;
    table.interleave_bf16(a, in.stride(), rows, k, middle, pairs, interleaved.data());
    table.interleave_bf16(a, in.stride(), rows, k, 0, middle, interleaved.data());
    REQUIRE_EQ(interleaved[words], 0xdeadbeef);
    for (auto accumulate : {false, true}) {
      auto expected = random.floats(size_t{rows} * n);
      auto found = expected;
      for (auto r = 0u; r < rows; ++r) {
        auto task = whole(fixture.matrix, a + r * in.stride(), in.stride(), 1, expected);
        task.c += size_t{r} * n;
        task.accumulate = accumulate;
        table.gemm_bf16_dot(task);
      }
      auto task = whole(fixture.matrix, interleaved.data(), 0, rows, found);
      task.accumulate = accumulate;
      auto cut = random.from(0, fixture.matrix.panels());
      task.panel_end = cut;
      table.gemm_bf16_batch(task);
      task.panel_begin = cut;
      task.panel_end = fixture.matrix.panels();
      table.gemm_bf16_batch(task);
      REQUIRE(std::memcmp(found.data(), expected.data(), found.size() * sizeof(float)) == 0);
    }
  }
}

TEST_CASE("ops: bf16 products with bf16 input agree with f32 sums of the rounded input, and so do oneDNN's") {
  if (best_instruction_set() < instruction_set::avx512_bf16)
    return testing::skip("the processor has no AVX-512 BF16");
  auto random = random_numbers{4};
  const auto& table = ops_for(instruction_set::avx512_bf16);
  auto pool = thread_pool{3};
  auto library = dnnl_gemm{pool};
  for (auto round = uint64_t{0}; round < testing::seeds(20); ++round) {
    auto n = random.from(1, 700);
    auto k = random.from(1, 140);
    auto rows = random.from(1, 300);
    CAPTURE(n);
    CAPTURE(k);
    CAPTURE(rows);
    auto fixture = packed_fixture{random, dtype::bf16, n, k};
    auto in = activations{};
    in.reshape(rounded_rows(rows), k, input_form::bf16);
    auto rounded = random.floats(size_t{rows} * k);
    for (auto r = 0u; r < rows; ++r) {
      in.set(table, r, rounded.data() + size_t{r} * k);
      for (auto i = 0u; i < k; ++i) {
        auto& x = rounded[size_t{r} * k + i];
        auto expected = f32_to_bf16(x);
        REQUIRE_EQ(static_cast<const uint16_t*>(in.data())[r * in.stride() + i], expected);
        x = bf16_to_f32(expected);
      }
    }
    auto start = random.floats(size_t{rows} * n);
    for (auto accumulate : {false, true}) {
      auto expected = start;
      auto task = whole(fixture.matrix, rounded.data(), k, rows, expected);
      task.accumulate = accumulate;
      scalar_ops.gemm_bf16(task);
      auto found = start;
      task.c = found.data();
      task.a = in.data();
      task.a_stride = in.stride();
      table.gemm_bf16_dot(task);
      REQUIRE_LE(largest_difference(expected, found), 1e-4f);
      found = start;
      library.apply(fixture.matrix, static_cast<const uint16_t*>(in.data()), in.stride(), rows, found.data(), n,
                    accumulate);
      REQUIRE_LE(largest_difference(expected, found), 1e-4f);
    }
  }
}

TEST_CASE("ops: int8 weights and input are rounded alike and multiplied alike by every instruction set") {
  auto random = random_numbers{7};
  for (auto round = uint64_t{0}; round < testing::seeds(60); ++round) {
    auto n = random.from(1, 200);
    auto k = random.from(1, 140);
    auto rows = random.from(1, 12);
    auto type = std::array{dtype::f32, dtype::f16, dtype::bf16}[random.from(0, 2)];
    CAPTURE(n);
    CAPTURE(k);
    CAPTURE(rows);
    auto raw = random.stored(type, size_t{n} * k);
    auto view = matrix_view{raw, type, n, k};
    auto memory = aligned_buffer<std::byte>{packed_matrix::bytes_for({&view, 1}, true)};
    auto matrix = packed_matrix{{&view, 1}, memory.data(), true};
    auto a = random.floats(size_t{rows} * k);
    auto blocks = (k + 31) / 32;
    auto quantized = [&](const ops& table) {
      auto result = std::vector<q8_block>(size_t{rows} * blocks);
      for (auto r = 0u; r < rows; ++r)
        table.quantize_q8(a.data() + size_t{r} * k, k, result.data() + size_t{r} * blocks);
      return result;
    };
    auto in = quantized(scalar_ops);
    auto start = random.floats(size_t{rows} * n);
    for (auto accumulate : {false, true}) {
      auto expected = start;
      auto task = whole(matrix, in.data(), blocks, rows, expected);
      task.accumulate = accumulate;
      scalar_ops.gemm_q8(task);
      // The reference itself, against the numbers before rounding: half a step on either side of each product.
      auto row = random.from(0, rows - 1);
      auto column = random.from(0, n - 1);
      auto weights = std::vector<float>(k);
      widen(view.row(column), type, weights);
      auto sum = accumulate ? static_cast<double>(start[row * n + column]) : 0.0;
      for (auto i = 0u; i < k; ++i)
        sum += static_cast<double>(a[row * k + i]) * weights[i];
      REQUIRE_LE(std::abs(expected[row * n + column] - sum), 0.01 * k / std::sqrt(k) + 0.01);
      for (const auto* fast : fast_sets()) {
        CAPTURE(fast->name);
        REQUIRE(std::memcmp(quantized(*fast).data(), in.data(), in.size() * sizeof(q8_block)) == 0);
        auto found = start;
        task.c = found.data();
        fast->gemm_q8(task);
        REQUIRE_LE(largest_difference(expected, found), 1e-4f);
      }
    }
  }
}
