// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace perigee::kernels {

/// How KV lies in a pool: block-major, then layer, so that one layer of one block is one contiguous range and a block
/// is one contiguous range. Within a layer: all K of the block's tokens, then all V. Bytes.
struct kv_layout {
  uint32_t layers = 0;
  uint32_t block_tokens = 0;
  uint64_t layer_bytes = 0; ///< K and V of `block_tokens` tokens in one layer

  uint64_t block_bytes() const noexcept {
    return layer_bytes * layers;
  }
  /// Offset of layer `layer` of slot `slot` from the start of the pool.
  uint64_t offset(uint32_t slot, uint32_t layer = 0) const noexcept {
    return slot * block_bytes() + layer * layer_bytes;
  }
  uint32_t blocks_for(uint32_t tokens) const noexcept {
    return (tokens + block_tokens - 1) / block_tokens;
  }
  friend bool operator==(const kv_layout&, const kv_layout&) = default;
};

} // namespace perigee::kernels
