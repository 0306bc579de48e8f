// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/args.hpp"
#include "kernels/cuda/device.hpp"

/// The kernels around the matrix products and attention. One block a row unless said; any number of threads.
namespace perigee::kernels::cuda {

PERIGEE_DEVICE void embed(const embed_args& a) {
  auto row = size_t{block_x()};
  auto* from = a.table + static_cast<size_t>(a.tokens[row]) * a.hidden;
  auto* to = a.x + row * a.hidden;
  for (auto i = thread() * 8; i < a.hidden; i += threads() * 8) {
    auto in = *reinterpret_cast<const vector16*>(from + i);
    for (auto j = 0u; j < 4; ++j) {
      to[i + 2 * j] = from_bf16(in.words[j] & 0xffff);
      to[i + 2 * j + 1] = from_bf16(in.words[j] >> 16);
    }
  }
}

/// Shared memory: one float a warp.
PERIGEE_DEVICE void add_norm(const add_norm_args& a) {
  auto row = size_t{block_x()} * a.hidden;
  auto* x = reinterpret_cast<vector16*>(a.x + row);
  auto* delta = reinterpret_cast<const uint32_t*>(a.delta == nullptr ? nullptr : a.delta + row);
  auto squares = 0.0f;
  for (auto i = thread(); i < a.hidden / 4; i += threads()) {
    auto value = x[i];
    if (delta != nullptr) {
      for (auto j = 0u; j < 4; ++j) {
        auto pair = delta[2 * i + j / 2];
        value.words[j] = bits_of(float_of(value.words[j]) + from_bf16(j % 2 == 0 ? pair & 0xffff : pair >> 16));
      }
      x[i] = value;
    }
    for (auto word : value.words)
      squares += float_of(word) * float_of(word);
  }
  squares = block_sum(squares, static_cast<float*>(shared_memory()));
  auto scale = inverse_root(squares / static_cast<float>(a.hidden) + a.eps);
  auto* weight = reinterpret_cast<const vector16*>(a.weight);
  auto* out = reinterpret_cast<uint32_t*>(a.out + row);
  for (auto i = thread(); i < a.hidden / 4; i += threads()) { // each thread what it wrote itself
    auto value = x[i];
    auto factor = weight[i];
    auto scaled = [&](uint32_t j) { return float_of(value.words[j]) * scale * float_of(factor.words[j]); };
    out[2 * i] = pack_bf16(scaled(0), scaled(1));
    out[2 * i + 1] = pack_bf16(scaled(2), scaled(3));
  }
}

/// One warp a head, of q, k and v in turn.
PERIGEE_DEVICE void rope_store(const rope_store_args& a) {
  constexpr auto pairs_max = 2u; // a lane's share of 64
  auto row = block_x();
  auto from = a.table_from[row];
  auto position = a.positions[row];
  auto half = a.head_dim / 2;
  auto all = a.heads + 2 * a.kv_heads;
  auto* numbers = a.qkv + size_t{row} * all * a.head_dim;
  auto* cosines = a.angles + size_t{position} * a.head_dim;
  auto* block = a.layer;
  if (from != no_row)
    block += a.tables[from + (position >> a.block_shift)] * a.block_bytes;
  auto offset = position & ((1u << a.block_shift) - 1);
  for (auto head = warp(); head < all; head += threads() / 32) {
    auto* values = numbers + size_t{head} * a.head_dim;
    float low[pairs_max];
    float high[pairs_max];
    auto squares = 0.0f;
    for (auto p = 0u; p < pairs_max; ++p) {
      auto i = lane() + 32 * p;
      low[p] = high[p] = 0;
      if (i < half) {
        low[p] = from_bf16(values[i]);
        high[p] = from_bf16(values[i + half]);
        if (a.bias != nullptr) {
          low[p] += a.bias[head * a.head_dim + i];
          high[p] += a.bias[head * a.head_dim + i + half];
        }
      }
      squares += low[p] * low[p] + high[p] * high[p];
    }
    auto is_v = head >= a.heads + a.kv_heads;
    auto* norm = head < a.heads ? a.q_norm : a.k_norm;
    auto scale = 1.0f;
    if (norm != nullptr && !is_v) // the same for all lanes
      scale = inverse_root(warp_sum(squares) / static_cast<float>(a.head_dim) + a.eps);
    for (auto p = 0u; p < pairs_max; ++p) {
      auto i = lane() + 32 * p;
      if (i >= half)
        continue;
      if (is_v) {
        if (from == no_row)
          continue;
        auto kv_head = size_t{head - a.heads - a.kv_heads};
        auto* v = reinterpret_cast<uint16_t*>(block + a.v_offset) + ((kv_head << a.block_shift) + offset) * a.head_dim;
        v[i] = to_bf16(low[p]);
        v[i + half] = to_bf16(high[p]);
        continue;
      }
      auto x = low[p];
      auto y = high[p];
      if (norm != nullptr) {
        x *= scale * norm[i];
        y *= scale * norm[i + half];
      }
      auto c = cosines[i];
      auto s = cosines[i + half];
      auto rotated_x = to_bf16(x * c - y * s);
      auto rotated_y = to_bf16(y * c + x * s);
      if (head < a.heads) {
        values[i] = rotated_x;
        values[i + half] = rotated_y;
      } else if (from != no_row) {
        auto* k = reinterpret_cast<uint16_t*>(block) + (size_t{head - a.heads} * a.head_dim << a.block_shift) + offset;
        k[size_t{i} << a.block_shift] = rotated_x;
        k[size_t{i + half} << a.block_shift] = rotated_y;
      }
    }
  }
}

/// Blocks: rows, then pieces of a row.
PERIGEE_DEVICE void swiglu(const swiglu_args& a) {
  auto row = size_t{block_x()};
  auto i = (block_y() * threads() + thread()) * 8;
  if (i >= a.ffn)
    return;
  auto* gate = a.gate_up + row * 2 * a.ffn + i;
  auto gates = *reinterpret_cast<const vector16*>(gate);
  auto ups = *reinterpret_cast<const vector16*>(gate + a.ffn);
  auto out = vector16{};
  auto one = [](uint32_t g, uint32_t u) {
    auto value = from_bf16(g);
    return value / (1 + exponential(-value)) * from_bf16(u);
  };
  for (auto j = 0u; j < 4; ++j)
    out.words[j] =
      pack_bf16(one(gates.words[j] & 0xffff, ups.words[j] & 0xffff), one(gates.words[j] >> 16, ups.words[j] >> 16));
  *reinterpret_cast<vector16*>(a.out + row * a.ffn + i) = out;
}

/// Blocks: ranges, then pieces of a range.
PERIGEE_DEVICE void copy_ranges(const copy_ranges_args& a) {
  auto range = a.ranges[block_x()];
  auto pieces = a.bytes / 16;
  auto* from = reinterpret_cast<const vector16*>(a.from + range.from);
  auto* to = reinterpret_cast<vector16*>(a.to + range.to);
  auto first = uint64_t{block_y()} * copy_piece_vectors;
  auto last = smaller(first + copy_piece_vectors, pieces);
  for (auto i = first + thread(); i < last; i += threads())
    to[i] = from[i];
}

} // namespace perigee::kernels::cuda
