// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/ops.hpp"
#include "kernels/cuda/launch.hpp"
#include "tests/kernels/cuda/support.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

using namespace perigee;
using namespace perigee::kernels;
using namespace perigee::kernels::cuda::test;
namespace cuda = perigee::kernels::cuda;

TEST_CASE("cuda kernels: embeddings are rows of the table") {
  auto* device = device_under_test();
  if (device == nullptr)
    return;
  auto random = numbers{1};
  for (auto hidden : {8u, 64u, 1096u, 4096u}) {
    auto rows = random.between(1, 9);
    auto table = random.halves(size_t{17} * hidden);
    auto tokens = std::vector<int32_t>(rows);
    for (auto& token : tokens)
      token = static_cast<int32_t>(random.below(17));
    auto device_table = on_device(*device, table);
    auto device_tokens = on_device(*device, tokens);
    auto x = on_device(*device, std::vector<float>(size_t{rows} * hidden));
    cuda::embed(*device, {device_table.data(), device_tokens.data(), x.data(), hidden}, rows);
    auto result = on_host(*device, x);
    for (auto i = size_t{0}; i < result.size(); ++i)
      REQUIRE_EQ(result[i], bf16_to_f32(table[static_cast<size_t>(tokens[i / hidden]) * hidden + i % hidden]));
  }
}

TEST_CASE("cuda kernels: the norm adds what a layer gave, keeps the sum, and gives its norm") {
  auto* device = device_under_test();
  if (device == nullptr)
    return;
  auto random = numbers{2};
  for (auto hidden : {8u, 40u, 2048u, 5120u})
    for (auto with_delta : {false, true}) {
      auto rows = random.between(1, 5);
      auto x = random.floats(size_t{rows} * hidden, 3);
      auto delta = random.halves(x.size());
      auto weight = random.floats(hidden);
      auto expected = x;
      if (with_delta)
        for (auto i = size_t{0}; i < x.size(); ++i)
          expected[i] += bf16_to_f32(delta[i]);
      auto device_x = on_device(*device, x);
      auto device_delta = on_device(*device, delta);
      auto device_weight = on_device(*device, weight);
      auto out = on_device(*device, std::vector<uint16_t>(x.size()));
      cuda::add_norm(
        *device,
        {device_x.data(), with_delta ? device_delta.data() : nullptr, device_weight.data(), out.data(), 1e-5f, hidden},
        rows);
      CHECK_EQ(on_host(*device, device_x), expected);
      auto normed = std::vector<float>(x.size());
      for (auto row = 0u; row < rows; ++row)
        cpu::scalar_ops.rms_norm(expected.data() + row * hidden, weight.data(), 1e-5f, hidden,
                                 normed.data() + row * hidden);
      CHECK_LT(distance(widened(on_host(*device, out)), normed), bf16_step);
    }
}

TEST_CASE("cuda kernels: gate and up become the feed-forward's input") {
  auto* device = device_under_test();
  if (device == nullptr)
    return;
  auto random = numbers{3};
  for (auto ffn : {8u, 88u, 2048u, 2056u, 5000u}) {
    auto rows = random.between(1, 4);
    auto gate_up = random.halves(size_t{rows} * 2 * ffn, 4);
    auto in = on_device(*device, gate_up);
    auto out = on_device(*device, std::vector<uint16_t>(size_t{rows} * ffn));
    cuda::swiglu(*device, {in.data(), out.data(), ffn}, rows);
    auto wide = widened(gate_up);
    auto expected = std::vector<float>(size_t{rows} * ffn);
    for (auto row = size_t{0}; row < rows; ++row)
      cpu::scalar_ops.swiglu(wide.data() + row * 2 * ffn, wide.data() + row * 2 * ffn + ffn, ffn,
                             expected.data() + row * ffn);
    CHECK_LT(distance(widened(on_host(*device, out)), expected), bf16_step);
  }
}

TEST_CASE("cuda kernels: ranges are copied to where they belong and nothing else is touched") {
  auto* device = device_under_test();
  if (device == nullptr)
    return;
  auto random = numbers{4};
  for (auto bytes : {16u, 48u, 32768u, 32784u, 100000u}) {
    auto source = std::vector<uint8_t>(5 * size_t{bytes});
    for (auto& byte : source)
      byte = static_cast<uint8_t>(random.below(255));
    auto expected = std::vector<uint8_t>(7 * size_t{bytes}, 0xff);
    auto ranges = std::vector<cuda::copy_range>{{0, 6}, {4, 1}, {2, 3}, {2, 4}};
    for (auto& range : ranges) {
      range.from *= bytes;
      range.to *= bytes;
      std::memcpy(expected.data() + range.to, source.data() + range.from, bytes);
    }
    auto from = on_device(*device, source);
    auto to = on_device(*device, std::vector<uint8_t>(expected.size(), 0xff));
    auto list = on_device(*device, ranges);
    cuda::copy_ranges(
      *device, cuda::queue::compute,
      {reinterpret_cast<const std::byte*>(from.data()), reinterpret_cast<std::byte*>(to.data()), list.data(), bytes},
      4);
    CHECK(on_host(*device, to) == expected);
  }
}

TEST_CASE("cuda kernels: q, k and v get biases, norms and angles, and K and V lie in their blocks") {
  auto* device = device_under_test();
  if (device == nullptr)
    return;
  auto random = numbers{5};
  for (auto [heads, kv_heads, head_dim, block_shift] :
       {std::array{4u, 1u, 16u, 4u}, {6u, 2u, 64u, 4u}, {3u, 3u, 72u, 5u}, {4u, 2u, 128u, 9u}})
    for (auto extras : {false, true}) {
      constexpr auto blocks = 5u;
      constexpr auto rows = 6u;
      auto block_tokens = 1u << block_shift;
      auto width = (heads + 2 * kv_heads) * head_dim;
      auto layer_bytes = 2 * size_t{kv_heads} * head_dim * block_tokens * 2;
      auto qkv = random.halves(size_t{rows} * width);
      auto bias = random.floats(width);
      auto q_norm = random.floats(head_dim);
      auto k_norm = random.floats(head_dim);
      auto positions = std::vector<uint32_t>{0, 1, block_tokens - 1, block_tokens, 2 * block_tokens + 3, 7};
      auto table_from = std::vector<uint32_t>{0, 0, 0, 0, 0, cuda::no_row}; // the last is only there to fill the batch
      auto tables = std::vector<uint32_t>{3, 0, 4};
      auto angles = random.floats(3 * size_t{block_tokens} * head_dim);
      auto device_qkv = on_device(*device, qkv);
      auto device_bias = on_device(*device, bias);
      auto device_q_norm = on_device(*device, q_norm);
      auto device_k_norm = on_device(*device, k_norm);
      auto device_angles = on_device(*device, angles);
      auto device_positions = on_device(*device, positions);
      auto device_from = on_device(*device, table_from);
      auto device_tables = on_device(*device, tables);
      auto untouched = uint16_t{0xffff};
      auto pool = on_device(*device, std::vector<uint16_t>(blocks * layer_bytes / 2, untouched));
      auto args = cuda::rope_store_args{};
      args.qkv = device_qkv.data();
      args.bias = extras ? device_bias.data() : nullptr;
      args.q_norm = extras ? device_q_norm.data() : nullptr;
      args.k_norm = extras ? device_k_norm.data() : nullptr;
      args.angles = device_angles.data();
      args.positions = device_positions.data();
      args.table_from = device_from.data();
      args.tables = device_tables.data();
      args.layer = reinterpret_cast<std::byte*>(pool.data());
      args.block_bytes = layer_bytes;
      args.v_offset = layer_bytes / 2;
      args.eps = 1e-6f;
      args.heads = heads;
      args.kv_heads = kv_heads;
      args.head_dim = head_dim;
      args.block_shift = block_shift;
      cuda::rope_store(*device, args, rows);

      auto values = widened(qkv);
      auto half = head_dim / 2;
      for (auto row = 0u; row < rows; ++row)
        for (auto head = 0u; head < heads + 2 * kv_heads; ++head) {
          auto* x = values.data() + row * width + head * head_dim;
          if (extras)
            for (auto d = 0u; d < head_dim; ++d)
              x[d] += bias[head * head_dim + d];
          if (head >= heads + kv_heads)
            continue;
          if (extras)
            cpu::scalar_ops.rms_norm(x, head < heads ? q_norm.data() : k_norm.data(), 1e-6f, head_dim, x);
          auto* cosines = angles.data() + positions[row] * head_dim;
          cpu::scalar_ops.rope(x, cosines, cosines + half, half);
        }
      auto result = widened(on_host(*device, device_qkv));
      auto stored = on_host(*device, pool);
      for (auto row = 0u; row < rows; ++row) {
        auto q_width = heads * head_dim;
        CHECK_LT(distance({result.data() + row * width, q_width}, {values.data() + row * width, q_width}), bf16_step);
        if (table_from[row] == cuda::no_row)
          continue;
        auto* layer = stored.data() + tables[positions[row] / block_tokens] * layer_bytes / 2;
        auto offset = positions[row] % block_tokens;
        auto got = std::vector<float>{};
        for (auto i = 0u; i < kv_heads * head_dim; ++i) {
          auto& number = layer[i * block_tokens + offset];
          got.push_back(bf16_to_f32(std::exchange(number, untouched)));
        }
        for (auto i = 0u; i < kv_heads * head_dim; ++i) {
          auto at = (i / head_dim * block_tokens + offset) * head_dim + i % head_dim;
          got.push_back(bf16_to_f32(std::exchange(layer[layer_bytes / 4 + at], untouched)));
        }
        CHECK_LT(distance(got, {values.data() + row * width + q_width, 2 * kv_heads * head_dim}), bf16_step);
      }
      CHECK(std::ranges::count(stored, untouched) == static_cast<ptrdiff_t>(stored.size())); // nothing else
    }
}

TEST_CASE("cuda device: a matrix product gives each row by the matrix's rows, in both kinds of output") {
  auto* device = device_under_test();
  if (device == nullptr)
    return;
  auto random = numbers{6};
  for (auto [rows, n, k] : {std::array{1u, 8u, 8u}, {5u, 350u, 64u}, {17u, 88u, 136u}, {64u, 128u, 256u}}) {
    auto weights = random.halves(size_t{n} * k);
    auto in = random.halves(size_t{rows} * k);
    auto device_weights = on_device(*device, weights);
    auto device_in = on_device(*device, in);
    auto wide = on_device(*device, std::vector<float>(size_t{rows} * n));
    auto narrow = on_device(*device, std::vector<uint16_t>(size_t{rows} * n));
    device->gemm({device_weights.data(), device_in.data(), wide.data(), rows, n, k, true});
    device->gemm({device_weights.data(), device_in.data(), narrow.data(), rows, n, k, false});
    auto expected = std::vector<float>{};
    for (auto row = 0u; row < rows; ++row)
      for (auto column = 0u; column < n; ++column) {
        auto sum = 0.0;
        for (auto i = 0u; i < k; ++i)
          sum += static_cast<double>(bf16_to_f32(in[row * k + i])) * bf16_to_f32(weights[column * k + i]);
        expected.push_back(static_cast<float>(sum));
      }
    CHECK_LT(distance(on_host(*device, wide), expected), 1e-3);
    CHECK_LT(distance(widened(on_host(*device, narrow)), expected), bf16_step);
  }
}
