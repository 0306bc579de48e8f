// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/kv_layout.hpp"

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

namespace perigee {

/// The places (`kernels::prefill_work`) through which the KV of a prompt goes that is computed layer by layer: one
/// layer of its blocks is computed while the one before it leaves. They are cut out of whole slots. Pure bookkeeping:
/// the owner says what still touches a layer's places.
class layer_ring {
public:
  static constexpr uint32_t parts = 2;

  /// So many slots has the ring of so many blocks.
  static constexpr uint32_t slots_for(uint32_t blocks, uint32_t layers) noexcept {
    return static_cast<uint32_t>((uint64_t{blocks} * parts + layers - 1) / layers);
  }
  /// Whether it takes at most half of the slots that whole blocks do.
  static constexpr bool pays(uint32_t layers) noexcept {
    return layers >= 2 * parts;
  }

  /// `slots`: `slots_for(blocks, layers)` of them.
  layer_ring(std::vector<uint32_t> slots, uint32_t blocks, uint32_t layers)
    : slots_(std::move(slots)), blocks_(blocks), layers_(layers) {}

  /// Of that layer of the ring's `block`-th block.
  uint32_t place(uint32_t layer, uint32_t block) const {
    auto index = layer % parts * blocks_ + block;
    return slots_[index / layers_] * layers_ + index % layers_;
  }

  /// Whether the layer can be computed: nothing touches the places of the one that had them before.
  bool is_free(uint32_t layer) const {
    return claims_[layer % parts] == 0;
  }
  void claim(uint32_t layer) {
    ++claims_[layer % parts];
  }
  void release(uint32_t layer) {
    --claims_[layer % parts];
  }

  const std::vector<uint32_t>& slots() const noexcept {
    return slots_;
  }

private:
  std::vector<uint32_t> slots_;
  uint32_t blocks_;
  uint32_t layers_;
  std::array<uint32_t, parts> claims_{};
};

} // namespace perigee
