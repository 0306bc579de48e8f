// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cpu/linear.hpp"
#include "kernels/kv_layout.hpp"
#include "kernels/layer_split.hpp"
#include "kernels/model/model.hpp"

#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace perigee::kernels::cpu {

/// One token to compute: it stands at `position`, and `blocks` are the addresses of the blocks that cover [0, position]
/// of its sequence, laid out as `model::layout(block_tokens)`. The block of the position itself is written, those before
/// it are read. Neighbouring rows of one sequence should share one `blocks` pointer: their attention is computed
/// together.
struct row {
  token_id token = 0;
  uint32_t position = 0;
  std::byte* const* blocks = nullptr;
};

struct transformer_options {
  uint32_t threads = 1;
  bool reference_kernels = false; ///< everything on the scalar kernels
  bool batch_invariant = false; ///< bf16 too gives a row the same result in any batch and chunk (f32 and f16 always do)
  const core_share* cores = nullptr;     ///< see thread_pool
  std::vector<uint32_t> processors = {}; ///< see thread_pool
};

/// The forward pass of a Llama-family model over paged KV. Used by one thread at a time.
/// Sources: Touvron et al. 2023 (model), Milakov and Gimelshein 2018 (online softmax), Kwon et al. 2023 (paged KV).
class transformer {
public:
  transformer(std::shared_ptr<const model> weights, uint32_t block_tokens, const transformer_options& options);

  /// Told when K and V of all rows are in their blocks for a layer; returns whether to go on.
  using layer_hook = std::function<bool(uint32_t layer)>;

  /// What is kept of the rows of a passage (`prefill_work`) from one call to the next.
  struct passage {
    aligned_buffer<float> x;
    aligned_buffer<float> angles;
  };

  /// How a call takes only some layers.
  struct part {
    layer_span layers = {};
    /// Of a call that is part of a passage. Its rows' `blocks` are then the addresses of `layers` in each block.
    passage* kept = nullptr;
    /// Asked before each chunk of a layer's rows, if given: whether to go on.
    std::function<bool()> goes_on = {};
  };

  /// Computes K and V of all rows, and the logits of the rows whose indices `wanted` lists (ascending). Every position
  /// that a row attends must be in its block or among the rows of the call. False when the hook said to stop. Tokens,
  /// positions and blocks must be valid. Only the layers of `what`, as `prefill_work` says: valid, and with nothing
  /// wanted unless the last layer is among them.
  bool forward(std::span<const row> rows, std::span<const uint32_t> wanted, const layer_hook& after_layer,
               const part& what);
  bool forward(std::span<const row> rows, std::span<const uint32_t> wanted, const layer_hook& after_layer) {
    return forward(rows, wanted, after_layer, {});
  }

  /// Between two layers: the residual streams of a block's tokens, in f32.
  uint64_t activation_bytes_block() const noexcept {
    return uint64_t{config_.hidden} * sizeof(float) * layout_.block_tokens;
  }

  /// Logits of the i-th wanted row of the last `forward`: `vocab` floats, valid until the next.
  std::span<const float> logits(uint32_t i) const noexcept;

  /// Chooses a token from the logits of each of `count` wanted rows, on all threads: body(row, thread), `thread` <
  /// `threads()`.
  template <class Body>
  void each_output(uint32_t count, Body&& body) {
    pool_.run(count, std::forward<Body>(body));
  }

  uint32_t threads() const noexcept {
    return pool_.threads();
  }

private:
  struct chunk {
    std::span<const row> rows;
    uint32_t first = 0;               ///< index of rows[0] in the call
    std::span<const uint32_t> wanted; ///< of the call's list, those in this chunk
  };

  bool run_layers(std::span<const row> rows, std::span<const uint32_t> wanted, const layer_hook& after_layer,
                  const part& what);
  uint64_t layer_offset(uint32_t layer) const noexcept {
    return layout_.offset(0, layer - layer_base_);
  }
  void place(std::span<const row> rows);
  void embed(std::span<const row> rows);
  template <class Copy>
  void each_activation(std::span<const row> rows, layer_span layers, Copy&& copy);
  void compute_kv(uint32_t layer, const chunk& part);
  void store_kv(uint32_t layer, uint32_t index, const row& at);
  void finish_layer(uint32_t layer, std::span<const row> rows, std::span<const uint32_t> indices, float* x);
  void attend(uint32_t layer, std::span<const row> rows, std::span<const uint32_t> indices);
  uint32_t head_groups(uint32_t runs, uint32_t rows) const noexcept;
  template <class Body>
  void each_row(uint32_t rows, uint32_t width, Body&& body);

  std::shared_ptr<const model> model_;
  const model_config& config_;
  const packed_weights& packed_;
  kv_layout layout_;
  std::vector<double> frequencies_;
  thread_pool pool_;
  const ops& ops_;
  linear linear_;
  bool fixed_order_;
  input_form form_; ///< of the input to linear layers

  aligned_buffer<float> x_;        ///< residual stream [rows, hidden]
  aligned_buffer<float> tail_;     ///< the same, of wanted rows only, for the last layer
  aligned_buffer<float> angles_;   ///< per row: head_dim/2 cosines, then sines
  aligned_buffer<float> qkv_;      ///< [chunk, q_width + 2 kv_width]
  aligned_buffer<float> attended_; ///< [chunk, q_width]
  aligned_buffer<float> gate_up_;  ///< [chunk, 2 ffn]
  aligned_buffer<float> scratch_;  ///< per thread
  aligned_buffer<float> logits_;   ///< [wanted, vocab]
  size_t scratch_stride_ = 0;
  activations in_;
  std::vector<uint32_t> everything_; ///< 0, 1, 2, ...
  std::vector<uint32_t> indices_;    ///< wanted rows of a chunk
  std::vector<std::pair<uint32_t, uint32_t>> runs_;
  uint32_t layer_base_ = 0; ///< the layer at which the rows' blocks begin
};

} // namespace perigee::kernels::cpu
