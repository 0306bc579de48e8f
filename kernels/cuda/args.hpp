// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

/// What each kernel works on: plain values that a launch copies to the device. Pointers are to device memory unless
/// said. bf16 numbers are their bits. "KV layout" is that of `model::layout`: within a layer K as
/// [kv_heads, head_dim, block_tokens], then V as [kv_heads, block_tokens, head_dim].
namespace perigee::kernels::cuda {

enum class kernel : uint8_t {
  embed,
  add_norm,
  rope_store,
  swiglu,
  copy_ranges,
  attend_rows_64,  ///< head_dim up to 64
  attend_rows_128, ///< head_dim up to 128
  attend_split_64,
  attend_split_128,
  combine,
  sample,
  count
};

/// x[row] = table[tokens[row]], widened.
struct embed_args {
  const uint16_t* table; ///< [vocab, hidden]
  const int32_t* tokens; ///< [rows]
  float* x;              ///< [rows, hidden]
  uint32_t hidden;       ///< a multiple of 8
};

/// x[row] += delta[row] where there is a delta; out[row] = x[row] / sqrt(mean(x[row]²) + eps) × weight.
struct add_norm_args {
  float* x;              ///< [rows, hidden]
  const uint16_t* delta; ///< [rows, hidden] or null
  const float* weight;   ///< [hidden]
  uint16_t* out;         ///< [rows, hidden]
  float eps;
  uint32_t hidden; ///< a multiple of 8
};

/// Adds biases, norms the heads of q and k, rotates them, and writes q back and K and V to the pool.
struct rope_store_args {
  uint16_t* qkv;              ///< [rows, (heads + 2 kv_heads) × head_dim]: q, k, v; q is replaced
  const float* bias;          ///< one row of qkv, or null
  const float* q_norm;        ///< [head_dim] or null, as `k_norm`
  const float* k_norm;        ///< [head_dim] or null
  const float* angles;        ///< [positions, head_dim]: head_dim / 2 cosines, then sines
  const uint32_t* positions;  ///< [rows]
  const uint32_t* table_from; ///< [rows]: where the slots of the row's sequence begin; `no_row` where nothing is stored
  const uint32_t* tables;     ///< slots
  std::byte* layer;           ///< of slot 0
  uint64_t block_bytes;       ///< from slot to slot
  uint64_t v_offset;          ///< from a layer's K to its V
  float eps;
  uint32_t heads;
  uint32_t kv_heads;
  uint32_t head_dim;    ///< a multiple of 8, at most 128
  uint32_t block_shift; ///< log2 of block_tokens, at least 4
};

inline constexpr uint32_t no_row = 0xffffffffu;

/// out = gate / (1 + exp(-gate)) × up.
struct swiglu_args {
  const uint16_t* gate_up; ///< [rows, 2 ffn]: gate, then up
  uint16_t* out;           ///< [rows, ffn]
  uint32_t ffn;            ///< a multiple of 8
};

/// 16-byte vectors that one block copies.
inline constexpr uint64_t copy_piece_vectors = 2048;

struct copy_range {
  uint64_t from;
  uint64_t to;
};

/// to[range.to ..] = from[range.from ..] for each range; `bytes` each. Blocks within the pool, between the pool and
/// pinned host memory (gather, scatter): either side may be host memory that the device can reach.
struct copy_ranges_args {
  const std::byte* from; ///< aligned to 16 bytes, as all offsets and `bytes`
  std::byte* to;
  const copy_range* ranges;
  uint64_t bytes;
};

/// Some rows that attend one sequence, each all positions up to its own.
struct attend_sequence {
  uint32_t first_row;  ///< of q and out
  uint32_t rows;       ///< 0: nothing to do
  uint32_t start;      ///< position of the first row
  uint32_t table_from; ///< where its slots begin in `tables`
};

/// A context is cut into pieces of this many tokens, so that a few rows keep the whole device busy. It depends on the
/// row's own length alone: a row's result does not depend on the batch.
constexpr uint32_t split_tokens(uint32_t context) {
  return context <= 4096 ? 128 : 512;
}
constexpr uint32_t split_count(uint32_t context) {
  return (context + split_tokens(context) - 1) / split_tokens(context);
}

/// softmax(q × K × scale) × V over paged KV: causal, query heads in groups that share a KV head, and with a sliding
/// window where asked. `attend_rows` writes `out`; `attend_split` writes partial results, for `combine`.
struct attend_args {
  const uint16_t* q; ///< row r, head h at q + r × q_stride + h × head_dim
  uint16_t* out;     ///< [rows, heads × head_dim]
  const attend_sequence* sequences;
  const uint32_t* tables;
  const std::byte* layer; ///< of slot 0
  uint64_t block_bytes;
  uint64_t v_offset;
  float* partial;      ///< split: [rows, heads, splits, head_dim], sums not yet divided
  float* partial_tops; ///< split: [rows, heads, splits, 2]: highest score (base 2), sum of weights
  uint32_t q_stride;
  uint32_t heads;
  uint32_t kv_heads;
  uint32_t head_dim;    ///< a multiple of 8
  uint32_t block_shift; ///< log2 of block_tokens, at least 4
  uint32_t window;      ///< tokens that a row attends, itself included; 0: all
  uint32_t unit_tiles;  ///< `attend_rows`: blocks of the longest sequence
  uint32_t splits;      ///< of the longest context, at most; 1 for `attend_rows`
  float scale;          ///< 1 / sqrt(head_dim)
};

/// What one sampled token needs, beside its logits.
struct sample_row {
  double word;       ///< random number in [0, 1)
  float temperature; ///< 0: greedy
  float top_p;
  uint32_t logits_row; ///< `no_row`: nothing is sampled
  uint32_t top_k;      ///< 0: all
  uint32_t ranked;     ///< whether top_k or top_p leaves out anything
  uint32_t edits_begin;
  uint32_t edits_end;
  float repetition;
  float presence;
  float frequency;
};

/// A logit that penalties or the minimum length change; each id at most once a row.
struct logit_edit {
  int32_t id;
  uint32_t generated; ///< how often it was generated, or `forbidden`
};
inline constexpr uint32_t forbidden = 0xffffffffu;

/// One token for each sampled row, chosen as `kernels::sampler` does; -1 where no logit is a finite number.
struct sample_args {
  const float* logits; ///< [rows, vocab]
  float* scratch;      ///< [samples, vocab], used where there are edits
  const sample_row* samples;
  const logit_edit* edits;
  int32_t* tokens; ///< [samples]
  uint32_t vocab;  ///< at most 2^19
};

} // namespace perigee::kernels::cuda
