// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/kv_layout.hpp"
#include "transport/base/status.hpp"

#include <cstdint>
#include <optional>

namespace perigee::kernels {

struct prefill_work;

/// Layers `first` to `end` - 1 of a model; `end` 0: all of them.
struct layer_span {
  uint32_t first = 0;
  uint32_t end = 0;
  friend bool operator==(const layer_span&, const layer_span&) = default;

  /// One past the last of them.
  uint32_t end_of(uint32_t layers) const noexcept {
    return end == 0 ? layers : end;
  }
};

/// The layers of stage `stage` of `stages` that share a model's `layers` evenly.
constexpr layer_span stage_layers(uint32_t layers, uint32_t stage, uint32_t stages) noexcept {
  return {layers * stage / stages, layers * (stage + 1) / stages};
}

/// Where the activations of a block's tokens lie, coming in or going out, while a stream runs only some layers: in the
/// block itself, in the place of layers that are not among them. The first such layer; nothing if there is no room.
/// `bytes_block`: of the activations of one block's tokens; 0 where a stream runs all layers or none.
std::optional<uint32_t> activations_at(const kv_layout& layout, layer_span layers, uint64_t bytes_block);

/// The most stages, up to `limit`, that can share the layers so that each has room for activations; at least 1.
uint32_t stages_max(const kv_layout& layout, uint64_t bytes_block, uint32_t limit);

/// Whether a stream with such activations can run the layers that the work names: ok, `unsupported` where it runs all
/// layers or none, or `invalid_argument`. `by_layer`: whether it takes passages.
status check_layers(const prefill_work& work, const kv_layout& layout, uint64_t bytes_block, bool by_layer);

} // namespace perigee::kernels
