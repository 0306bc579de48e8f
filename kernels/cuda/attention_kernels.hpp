// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/args.hpp"
#include "kernels/cuda/device.hpp"

/// Attention over paged KV on tensor cores. Sources: Dao 2023 (FlashAttention-2), Milakov and Gimelshein 2018 (online
/// softmax), Kwon et al. 2023 (paged KV), Dao et al. 2023 (Flash-Decoding: split contexts).
namespace perigee::kernels::cuda {

inline constexpr uint32_t kv_tile = 64;    ///< tokens of K and V in shared memory at a time; tiles begin at multiples
inline constexpr uint32_t kv_stages = 2;   ///< tiles in flight
inline constexpr uint32_t rows_warps = 4;  ///< of `attend_rows`
inline constexpr uint32_t warp_units = 16; ///< units (a query head of a row) of a warp

/// Elements of padding that keep eight rows of a matrix in different banks.
inline constexpr uint32_t bank_padding = 8;

constexpr uint32_t tile_elements(uint32_t head_max) {
  return head_max * (kv_tile + bank_padding) + kv_tile * (head_max + bank_padding);
}
constexpr uint32_t attention_shared_bytes(uint32_t head_max) {
  return kv_stages * tile_elements(head_max) * 2;
}

/// One block: Warps × 16 units that share a KV head, over their context or one split of it. A lane holds pieces of two
/// units: number lane / 4 of the warp and the one eight further. Blocks: unit tiles × splits, KV heads, sequences.
template <uint32_t HeadMax, uint32_t Warps, bool Split>
struct attention {
  static constexpr uint32_t units_of_block = Warps * warp_units;
  static constexpr uint32_t k_stride = kv_tile + bank_padding;
  static constexpr uint32_t v_stride = HeadMax + bank_padding;
  static constexpr uint32_t depth_steps = HeadMax / 16;

  const attend_args& a;
  attend_sequence sequence;
  uint32_t kv_head;
  uint32_t group;      ///< query heads of a KV head
  uint32_t units;      ///< of the sequence and KV head
  uint32_t first_unit; ///< of the block
  uint32_t split;
  uint32_t begin; ///< positions that the block reads
  uint32_t end;

  uint32_t unit[2]; ///< of this lane
  uint32_t position[2];
  uint32_t query[depth_steps][4];
  float out[HeadMax / 8][4];
  float top[2];
  float total[2]; ///< of this lane's columns until the end

  PERIGEE_DEVICE explicit attention(const attend_args& args) : a(args) {
    sequence = a.sequences[block_z()];
    kv_head = block_y();
    group = a.heads / a.kv_heads;
    units = sequence.rows * group;
    split = Split ? block_x() % a.splits : 0;
    // Later rows attend more: the longest first, so that the device does not end with one block.
    first_unit = (Split ? block_x() / a.splits : a.unit_tiles - 1 - block_x()) * units_of_block;
  }

  PERIGEE_DEVICE uint32_t position_of(uint32_t index) const {
    return sequence.start + smaller(index, units - 1) / group;
  }

  PERIGEE_DEVICE void run() {
    if (first_unit >= units)
      return;
    auto from = position_of(first_unit);
    begin = a.window != 0 && from >= a.window ? from + 1 - a.window : 0;
    begin -= begin % kv_tile;
    end = position_of(first_unit + units_of_block - 1) + 1;
    if (Split) {
      auto piece = split_tokens(sequence.start + sequence.rows);
      begin = larger(begin, split * piece);
      end = smaller(end, (split + 1) * piece);
    }
    load_query();
    auto* tiles = static_cast<uint16_t*>(shared_memory());
    if (begin < end)
      load_tile(begin, tiles);
    copy_commit();
    for (auto at = begin, stage = 0u; at < end; at += kv_tile, stage ^= 1) {
      if (at + kv_tile < end)
        load_tile(at + kv_tile, tiles + (stage ^ 1) * tile_elements(HeadMax));
      copy_commit();
      copy_wait<1>();
      sync_block();
      attend_tile(at, tiles + stage * tile_elements(HeadMax));
      sync_block();
    }
    finish();
  }

  PERIGEE_DEVICE void load_query() {
    PERIGEE_UNROLL
    for (auto h = 0u; h < 2; ++h) {
      unit[h] = first_unit + warp() * warp_units + lane() / 4 + 8 * h;
      position[h] = position_of(unit[h]);
      top[h] = lowest_float();
      total[h] = 0;
      auto row = size_t{sequence.first_row + unit[h] / group};
      auto* q = a.q + row * a.q_stride + (kv_head * group + unit[h] % group) * a.head_dim;
      PERIGEE_UNROLL
      for (auto step = 0u; step < depth_steps; ++step)
        PERIGEE_UNROLL
      for (auto part = 0u; part < 2; ++part) {
        auto d = step * 16 + part * 8 + lane() % 4 * 2;
        query[step][part * 2 + h] = unit[h] < units && d < a.head_dim ? *reinterpret_cast<const uint32_t*>(q + d) : 0;
      }
    }
    PERIGEE_UNROLL
    for (auto& part : out)
      for (auto& number : part)
        number = 0;
  }

  /// Starts to copy the K and V of positions [at, at + kv_tile) to `tile`: K [HeadMax, k_stride], V [kv_tile,
  /// v_stride]. What lies behind the context or the head is zero: garbage in V would pass through a weight of zero as a
  /// NaN.
  PERIGEE_DEVICE void load_tile(uint32_t at, uint16_t* tile) {
    auto offset_mask = (1u << a.block_shift) - 1;
    auto block_of = [&](uint32_t p) {
      return a.layer + a.tables[sequence.table_from + (p >> a.block_shift)] * a.block_bytes;
    };
    for (auto i = thread(); i < HeadMax * (kv_tile / 8); i += threads()) {
      auto d = i / (kv_tile / 8);
      auto column = i % (kv_tile / 8) * 8;
      auto p = at + column;
      auto valid = p < end && d < a.head_dim;
      auto* from = a.layer;
      if (valid)
        from = block_of(p) + 2 * ((size_t{kv_head * a.head_dim + d} << a.block_shift) + (p & offset_mask));
      copy16_async(tile + d * k_stride + column, from, valid);
    }
    auto* v_tile = tile + HeadMax * k_stride;
    for (auto i = thread(); i < kv_tile * (HeadMax / 8); i += threads()) {
      auto row = i / (HeadMax / 8);
      auto d = i % (HeadMax / 8) * 8;
      auto p = at + row;
      auto valid = p < end && d < a.head_dim;
      auto* from = a.layer;
      if (valid)
        from =
          block_of(p) + a.v_offset + 2 * (((size_t{kv_head} << a.block_shift) + (p & offset_mask)) * a.head_dim + d);
      copy16_async(v_tile + row * v_stride + d, from, valid);
    }
  }

  /// Row and column (in elements) that this lane names to load four 8x8 matrices: two along k, then two along n.
  PERIGEE_DEVICE static uint32_t matrix_row() {
    return lane() / 8 % 2 * 8 + lane() % 8;
  }
  PERIGEE_DEVICE static uint32_t matrix_column() {
    return lane() / 16 * 8;
  }

  PERIGEE_DEVICE void attend_tile(uint32_t at, const uint16_t* tile) {
    float score[kv_tile / 8][4];
    for (auto& part : score)
      for (auto& number : part)
        number = 0;
    PERIGEE_UNROLL
    for (auto step = 0u; step < depth_steps; ++step)
      PERIGEE_UNROLL
    for (auto pair = 0u; pair < kv_tile / 16; ++pair) {
      uint32_t k[4];
      load_matrices_transposed(k, tile + (step * 16 + matrix_row()) * k_stride + pair * 16 + matrix_column());
      multiply_add(score[2 * pair], query[step], k[0], k[1]);
      multiply_add(score[2 * pair + 1], query[step], k[2], k[3]);
    }
    weigh(at, score);
    auto* v_tile = tile + HeadMax * k_stride;
    PERIGEE_UNROLL
    for (auto step = 0u; step < kv_tile / 16; ++step) {
      // Sums of one product lie as the left side of the next wants them.
      uint32_t weight[4] = {pack_bf16(score[2 * step][0], score[2 * step][1]),
                            pack_bf16(score[2 * step][2], score[2 * step][3]),
                            pack_bf16(score[2 * step + 1][0], score[2 * step + 1][1]),
                            pack_bf16(score[2 * step + 1][2], score[2 * step + 1][3])};
      PERIGEE_UNROLL
      for (auto pair = 0u; pair < HeadMax / 16; ++pair) {
        uint32_t v[4];
        load_matrices_transposed(v, v_tile + (step * 16 + matrix_row()) * v_stride + pair * 16 + matrix_column());
        multiply_add(out[2 * pair], weight, v[0], v[1]);
        multiply_add(out[2 * pair + 1], weight, v[2], v[3]);
      }
    }
  }

  /// Scores become weights relative to the highest score so far; sums and outputs follow it.
  PERIGEE_DEVICE void weigh(uint32_t at, float (&score)[kv_tile / 8][4]) {
    constexpr auto log2_e = 1.44269504f;
    PERIGEE_UNROLL
    for (auto h = 0u; h < 2; ++h) {
      auto highest = top[h];
      PERIGEE_UNROLL
      for (auto n = 0u; n < kv_tile / 8; ++n)
        PERIGEE_UNROLL
      for (auto c = 0u; c < 2; ++c) {
        auto p = at + n * 8 + lane() % 4 * 2 + c;
        auto& number = score[n][2 * h + c];
        auto seen = p <= position[h] && p < end && (a.window == 0 || position[h] < p + a.window);
        number = seen ? number * (a.scale * log2_e) : lowest_float();
        highest = larger(highest, number);
      }
      highest = larger(highest, shuffle_xor(highest, 1));
      highest = larger(highest, shuffle_xor(highest, 2));
      auto base = highest == lowest_float() ? 0 : highest; // a row may see nothing of a tile
      auto correction = exponential2(top[h] - base);
      top[h] = highest;
      total[h] *= correction;
      PERIGEE_UNROLL
      for (auto n = 0u; n < HeadMax / 8; ++n) {
        out[n][2 * h] *= correction;
        out[n][2 * h + 1] *= correction;
      }
      PERIGEE_UNROLL
      for (auto n = 0u; n < kv_tile / 8; ++n)
        PERIGEE_UNROLL
      for (auto c = 0u; c < 2; ++c) {
        auto& number = score[n][2 * h + c];
        number = exponential2(number - base);
        total[h] += number;
      }
    }
  }

  PERIGEE_DEVICE void finish() {
    PERIGEE_UNROLL
    for (auto h = 0u; h < 2; ++h) {
      total[h] += shuffle_xor(total[h], 1);
      total[h] += shuffle_xor(total[h], 2);
    }
    PERIGEE_UNROLL
    for (auto h = 0u; h < 2; ++h)
      if (unit[h] < units)
        write(h);
  }

  PERIGEE_DEVICE void write(uint32_t h) const {
    auto row = size_t{sequence.first_row + unit[h] / group};
    auto head = kv_head * group + unit[h] % group;
    if (Split) {
      auto at = (row * a.heads + head) * a.splits + split;
      if (lane() % 4 == 0) {
        a.partial_tops[2 * at] = top[h];
        a.partial_tops[2 * at + 1] = total[h];
      }
      if (top[h] == lowest_float())
        return; // nothing seen: `combine` does not look at it
      each_pair(h, [&](uint32_t d, float x, float y) {
        a.partial[at * a.head_dim + d] = x;
        a.partial[at * a.head_dim + d + 1] = y;
      });
      return;
    }
    auto inverse = 1 / total[h];
    auto* to = a.out + (row * a.heads + head) * a.head_dim;
    each_pair(h, [&](uint32_t d, float x, float y) {
      *reinterpret_cast<uint32_t*>(to + d) = pack_bf16(x * inverse, y * inverse);
    });
  }

  template <class Body>
  PERIGEE_DEVICE void each_pair(uint32_t h, Body&& body) const {
    PERIGEE_UNROLL
    for (auto n = 0u; n < HeadMax / 8; ++n) {
      auto d = n * 8 + lane() % 4 * 2;
      if (d < a.head_dim)
        body(d, out[n][2 * h], out[n][2 * h + 1]);
    }
  }
};

template <uint32_t HeadMax>
PERIGEE_DEVICE void attend_rows(const attend_args& a) {
  attention<HeadMax, rows_warps, false>{a}.run();
}
template <uint32_t HeadMax>
PERIGEE_DEVICE void attend_split(const attend_args& a) {
  attention<HeadMax, 1, true>{a}.run();
}

/// Puts the splits together. Blocks: rows of a sequence × heads, one, sequences; threads take elements of the head.
PERIGEE_DEVICE void combine(const attend_args& a) {
  auto sequence = a.sequences[block_z()];
  auto row = block_x() / a.heads;
  if (row >= sequence.rows)
    return;
  auto unit = size_t{sequence.first_row + row} * a.heads + block_x() % a.heads;
  auto* tops = a.partial_tops + unit * a.splits * 2;
  auto splits = split_count(sequence.start + sequence.rows);
  auto highest = lowest_float();
  for (auto s = 0u; s < splits; ++s)
    highest = larger(highest, tops[2 * s]);
  auto total = 0.0f;
  for (auto s = 0u; s < splits; ++s)
    total += tops[2 * s + 1] * exponential2(tops[2 * s] - highest);
  for (auto d = thread(); d < a.head_dim; d += threads()) {
    auto sum = 0.0f;
    for (auto s = 0u; s < splits; ++s)
      if (tops[2 * s] > lowest_float())
        sum += a.partial[(unit * a.splits + s) * a.head_dim + d] * exponential2(tops[2 * s] - highest);
    a.out[unit * a.head_dim + d] = to_bf16(sum / total);
  }
}

} // namespace perigee::kernels::cuda
