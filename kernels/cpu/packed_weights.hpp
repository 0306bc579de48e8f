// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cpu/aligned_buffer.hpp"
#include "kernels/cpu/packed_matrix.hpp"
#include "kernels/model/weights.hpp"

#include <vector>

namespace perigee::kernels::cpu {

/// All matrices of a model, packed. The embedding stays where it is mapped: only single rows of it are read.
class packed_weights {
public:
  struct layer {
    packed_matrix qkv; ///< q, then k, then v
    packed_matrix o;
    packed_matrix gate_up; ///< gate, then up
    packed_matrix down;
  };

  /// Packs on all cores. `int8` rounds the weights as `packed_matrix` says; `tell` hears how much is done
  /// (`model::pack`), or is empty.
  packed_weights(const transformer_weights& weights, bool int8, const std::function<void(double share)>& tell = {});

  const std::vector<layer>& layers() const noexcept {
    return layers_;
  }
  const packed_matrix& output() const noexcept {
    return output_;
  }
  /// What one decode step reads at least.
  size_t bytes() const noexcept {
    return memory_.size();
  }

private:
  aligned_buffer<std::byte> memory_; ///< of all of them, in the order of use
  std::vector<layer> layers_;
  packed_matrix output_;
};

} // namespace perigee::kernels::cpu
