// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace perigee::kernels::cpu {

struct q8_block;

/// Columns of one panel of a packed matrix: 32 for f32 and f16 ([k][32] elements), 64 for bf16 ([k/2][64][2], the order
/// in which AVX-512 BF16 multiplies and one that oneDNN reads as it is) and for int8.
inline constexpr uint32_t panel_columns = 32;
inline constexpr uint32_t panel_columns_bf16 = 64;

/// c[rows, n] = a[rows, k] × B, for the columns of panels [panel_begin, panel_end). Each element of c is one chain of
/// multiply-adds over k in ascending order, whatever `rows` is: a row's result does not depend on its neighbours.
struct gemm_task {
  const void* a = nullptr; ///< f32; bf16 for `ops::gemm_bf16_dot`, rows zero-padded to an even k; or what `ops` says
  size_t a_stride = 0;     ///< elements
  uint32_t rows = 0;
  const std::byte* panels = nullptr; ///< of the whole matrix
  size_t panel_bytes = 0;
  uint32_t k = 0;
  uint32_t n = 0; ///< columns of the whole matrix; the last panel may have fewer than it could hold
  uint32_t panel_begin = 0;
  uint32_t panel_end = 0;
  float* c = nullptr;
  size_t c_stride = 0;     ///< elements
  bool accumulate = false; ///< add to c instead of setting it
};

/// Rows for `ops::gemm_bf16_batch`: fewer are bound by memory, which whole panels read as fast; more by arithmetic
/// alone.
inline constexpr uint32_t batch_rows_min = 7;
inline constexpr uint32_t batch_rows_max = 112;
inline constexpr uint32_t interleave_pairs = 16;

/// Attention of some query heads over one KV head, or over several that lie next to each other and are gone through
/// block by block, so that long pieces of memory are read. A unit is one query head at one position; each KV head has
/// as many, one KV head's after the other's.
struct attention_task {
  const float* const* q = nullptr;  ///< per unit [head_dim], already scaled by 1/sqrt(head_dim)
  float* const* out = nullptr;      ///< per unit [head_dim]
  const uint32_t* starts = nullptr; ///< per unit: attends positions [start, length)
  const uint32_t* lengths = nullptr;
  uint32_t units = 0;
  uint32_t head_dim = 0;
  uint32_t block_tokens = 0;
  std::byte* const* blocks = nullptr; ///< of the sequence
  uint64_t k_offset = 0;              ///< of the first head's K [head_dim, block_tokens] from the block's begin
  uint64_t v_offset = 0;              ///< of the first head's V [block_tokens, head_dim] from there
  float* scratch = nullptr;           ///< `attention_scratch_floats()` floats, aligned to 64 bytes
  uint32_t heads = 1;                 ///< KV heads; `units` is a multiple of it

  uint32_t head_units() const noexcept {
    return units / heads;
  }
};

inline constexpr uint32_t attention_units_max = 64;
inline constexpr uint32_t attention_tile = 16; ///< tokens taken at once

/// First position of the tile that holds `position`: tiles begin anew in every block.
constexpr uint32_t tile_begin(uint32_t position, uint32_t block_tokens) noexcept {
  return position - position % block_tokens % attention_tile;
}
/// Rounded up so that every row of scratch begins at a vector's boundary.
constexpr uint32_t padded_head(uint32_t head_dim) noexcept {
  return (head_dim + 15) / 16 * 16;
}
constexpr size_t attention_scratch_floats(uint32_t head_dim) noexcept {
  return size_t{64 + attention_units_max + attention_units_max / 2} * padded_head(head_dim);
}
/// Whether `ops::attention_bf16_dot` can take such heads and blocks.
constexpr bool dot_attention_fits(uint32_t head_dim, uint32_t block_tokens) noexcept {
  return head_dim % 16 == 0 && block_tokens % 16 == 0;
}

/// The arithmetic of the model on one instruction set. Every function handles any length; pointers need no alignment
/// unless said. Where a member is null the instruction set has no such kernel.
struct ops {
  const char* name;
  /// out[i] = x[i] / sqrt(mean(x²) + eps) × weight[i]; `out` may be `x`
  void (*rms_norm)(const float* x, const float* weight, float eps, uint32_t n, float* out) noexcept;
  /// Rotates the pairs (head[i], head[i + half]) by angles with these cosines and sines; in place.
  void (*rope)(float* head, const float* cosines, const float* sines, uint32_t half) noexcept;
  /// out[i] = gate[i] / (1 + exp(-gate[i])) × up[i]
  void (*swiglu)(const float* gate, const float* up, uint32_t n, float* out) noexcept;
  void (*gemm_f32)(const gemm_task& task) noexcept;
  void (*gemm_f16)(const gemm_task& task) noexcept;
  void (*gemm_bf16)(const gemm_task& task) noexcept;     ///< f32 activations
  void (*gemm_bf16_dot)(const gemm_task& task) noexcept; ///< bf16 activations; null without AVX-512 BF16
  /// The same for `batch_rows_min` to `batch_rows_max` rows, with weights that stream from memory behind the
  /// arithmetic; `a` is what `interleave_bf16` wrote, of `rows` × ⌈k / 2⌉ words, from rows zero-padded to a multiple
  /// of 32.
  void (*gemm_bf16_batch)(const gemm_task& task) noexcept;
  /// Pairs [begin, end) of neighbouring k, of ⌈k / 2⌉; `begin` is a multiple of `interleave_pairs`.
  void (*interleave_bf16)(const uint16_t* a, size_t stride, uint32_t rows, uint32_t k, uint32_t begin, uint32_t end,
                          uint32_t* out) noexcept;
  /// Rounds to nearest even; what `gemm_bf16_dot` takes as input, and null where that is.
  void (*to_bf16)(const float* x, uint32_t n, uint16_t* out) noexcept;
  /// int8 weights; `a` is of `q8_block`, which `a_stride` counts, and panels are as `q8_block.hpp` says.
  void (*gemm_q8)(const gemm_task& task) noexcept;
  /// `n` numbers to whole blocks, the last one filled up with zeros.
  void (*quantize_q8)(const float* x, uint32_t n, q8_block* out) noexcept;
  void (*attention_f32)(const attention_task& task) noexcept;
  void (*attention_f16)(const attention_task& task) noexcept;
  void (*attention_bf16)(const attention_task& task) noexcept;
  /// For several units, whose q and weights it rounds to bf16; null without AVX-512 BF16. See `dot_attention_fits`.
  void (*attention_bf16_dot)(const attention_task& task) noexcept;
};

/// In ascending order of what they can do; the last has VNNI too.
enum class instruction_set : uint8_t { scalar, avx2, avx512, avx512_bf16 };

/// The best that this processor and this build have.
instruction_set best_instruction_set() noexcept;

/// The kernels of one instruction set, which the processor must have.
const ops& ops_for(instruction_set set) noexcept;

/// The tables behind `ops_for`.
extern const ops scalar_ops;
extern const ops avx2_ops;
extern const ops avx512_ops;
extern const ops avx512_bf16_ops;

} // namespace perigee::kernels::cpu
