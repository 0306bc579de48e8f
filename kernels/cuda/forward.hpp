// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/device_weights.hpp"
#include "kernels/cuda/sample_batch.hpp"
#include "kernels/kv_layout.hpp"

#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace perigee::kernels::cuda {

struct forward_options {
  uint32_t block_tokens = 16;
  uint32_t rows_max = 8192; ///< of one prefill
  uint32_t batch_max = 256; ///< of one decode step, and samples of one prefill
};

/// The forward pass of a Llama-family model over a paged pool in device memory: submits kernels to the compute queue
/// and returns. Numbers between layers are f32, activations bf16. Used by one thread at a time; one prefill or step at
/// a time, and its end is waited for before the next begins.
class forward {
public:
  /// `weights` and `pool` (in device memory) outlive the object. Throws `failure` (exhausted).
  forward(machine& on, const device_weights& weights, const kv_layout& layout, std::byte* pool,
          const forward_options& options);

  /// What is between two layers of the rows of a passage (`prefill_work`), piece after piece, each of `rows_max` rows but
  /// the last.
  struct passage {
    device_array<float> x;
    device_array<uint16_t> delta;
  };
  /// Room for that many rows. Throws `failure` (exhausted).
  passage make_passage(uint32_t rows);

  /// How a prefill is part of a passage: `blocks` then names places that begin with `layer_first`, and the rows are those
  /// of the passage from `row_first` on.
  struct passage_part {
    passage& kept;
    uint32_t row_first = 0;
    uint32_t layer_first = 0;
  };

  /// Prepares rows `tokens` at positions `start`.. of one sequence, at most `rows_max`, whose slots `blocks` names.
  void begin_prefill(std::span<const token_id> tokens, uint32_t start, std::span<const uint32_t> blocks,
                     const std::optional<passage_part>& part = {});
  /// Puts K and V of the rows into the pool; after it `layer_rest`, in order of layers.
  void layer_kv(uint32_t layer);
  /// What follows in the layer; in the last one for the last row alone, and only where its logits are `wanted`.
  void layer_rest(uint32_t layer, bool wanted);
  /// After all layers: samples the last row's logits for each request (at most `batch_max`).
  void sample_last(std::span<const sample_request> requests);

  /// One decode step of at most `batch_max` rows, sampled. A shape that comes again runs as a graph.
  void step(std::span<const decode_row> rows);
  /// Shapes that run as a graph so far.
  size_t graphs() const noexcept {
    return graph_count_;
  }

  /// What was sampled, in pinned memory: valid once the compute queue is done.
  const int32_t* tokens() const noexcept {
    return sampled_host_.data();
  }
  /// Logits [rows, vocab] of the last step, or of the prefill's last row; in device memory.
  const device_array<float>& logits() const noexcept {
    return logits_;
  }

private:
  struct step_shape {
    uint32_t rows = 0;
    uint32_t splits = 0;
    friend auto operator<=>(const step_shape&, const step_shape&) = default;
  };

  void use_whole_blocks();
  void run_step(const step_shape& shape);
  void kv(uint32_t layer, uint32_t rows);
  void rest(uint32_t layer, uint32_t first, uint32_t rows, uint32_t splits);
  void output(uint32_t first, uint32_t rows);
  /// A layer of the pool's first block, and from there to that of the next.
  std::byte* layer_at(uint32_t layer) const noexcept {
    return pool_ + layout_.offset(0, layer - layer_first_);
  }
  uint64_t block_stride() const noexcept {
    return in_places_ ? layout_.layer_bytes : layout_.block_bytes();
  }
  void multiply(const uint16_t* weights, const uint16_t* in, void* out, uint32_t rows, uint32_t n, uint32_t k,
                bool f32_out = false);
  template <class T>
  void put(device_array<T>& to, const std::vector<T>& values);
  void stage_samples();
  void ensure_splits(uint32_t rows, uint32_t splits);

  machine& on_;
  const device_weights& weights_;
  const model_config& config_;
  kv_layout layout_;
  std::byte* pool_;
  forward_options options_;
  uint32_t block_shift_;
  uint32_t width_; ///< of a row of q, k and v

  // of the prefill or step under way
  uint32_t rows_ = 0;
  uint32_t context_ = 0; ///< of the prefill
  float* x_now_ = nullptr;        ///< the rows' residual streams
  uint16_t* delta_now_ = nullptr; ///< and what is to be added to them
  uint32_t layer_first_ = 0;      ///< at which blocks begin
  bool in_places_ = false;        ///< blocks are places of one layer
  std::vector<int32_t> row_tokens_;
  std::vector<uint32_t> positions_;
  std::vector<uint32_t> table_from_;
  std::vector<uint32_t> tables_;
  std::vector<attend_sequence> sequences_;
  sample_batch samples_;

  device_array<int32_t> device_tokens_;
  device_array<uint32_t> device_positions_;
  device_array<uint32_t> device_table_from_;
  device_array<uint32_t> device_tables_;
  device_array<attend_sequence> device_sequences_;
  device_array<sample_row> device_samples_;
  device_array<logit_edit> device_edits_;

  device_array<float> x_;           ///< [rows, hidden]
  device_array<uint16_t> normed_;   ///< [rows, hidden]
  device_array<uint16_t> delta_;    ///< [rows, hidden]: what attention or the feed-forward adds
  device_array<uint16_t> qkv_;      ///< [rows, width]
  device_array<uint16_t> attended_; ///< [rows, q_width]
  device_array<uint16_t> gate_up_;  ///< [rows, 2 ffn]
  device_array<uint16_t> active_;   ///< [rows, ffn]
  device_array<float> partial_;
  device_array<float> partial_tops_;
  device_array<float> logits_;  ///< [batch, vocab]
  device_array<float> scratch_; ///< the same
  device_array<int32_t> sampled_;
  device_array<int32_t> sampled_host_;

  std::map<step_shape, uint32_t> seen_; ///< how often
  std::map<step_shape, machine::graph> graphs_;
  size_t graph_count_ = 0;
};

} // namespace perigee::kernels::cuda
