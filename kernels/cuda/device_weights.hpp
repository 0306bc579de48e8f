// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/machine.hpp"
#include "kernels/model/model.hpp"

#include <vector>

namespace perigee::kernels::cuda {

/// A model's weights in device memory: matrices as [rows, columns] in bf16, as the files have them.
struct device_weights {
  struct layer {
    device_array<uint16_t> qkv;     ///< q, then k, then v
    device_array<uint16_t> o;       ///< [hidden, q_width]
    device_array<uint16_t> gate_up; ///< gate, then up
    device_array<uint16_t> down;    ///< [hidden, ffn]
    device_array<float> attention_norm;
    device_array<float> ffn_norm;
    device_array<float> qkv_bias; ///< empty where there is none, as what follows
    device_array<float> q_norm;
    device_array<float> k_norm;
  };

  model_config config;
  device_array<uint16_t> embedding; ///< [vocab, hidden]
  device_array<uint16_t> output;    ///< empty where it is the embedding
  device_array<float> final_norm;
  device_array<float> angles; ///< [context, head_dim]: head_dim / 2 cosines, then sines, as the CPU takes them
  std::vector<layer> layers;

  const uint16_t* output_matrix() const noexcept {
    return output.size() > 0 ? output.data() : embedding.data();
  }
  uint64_t bytes() const noexcept; ///< of the matrices that one decode step reads
};

/// Copies the weights from their mapped file to the device. Positions from `positions` on get no angles. Throws
/// `failure` (unsupported) naming what of the model these kernels do not compute, (exhausted) where the memory does not
/// hold it.
device_weights upload_weights(machine& on, const model& from, uint32_t positions);

/// A model of this shape with random matrices, for benchmarks: no file, no tokenizer.
device_weights random_weights(machine& on, const model_config& config);

} // namespace perigee::kernels::cuda
