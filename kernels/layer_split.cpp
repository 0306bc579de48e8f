// SPDX-License-Identifier: Apache-2.0
#include "kernels/layer_split.hpp"

#include "kernels/stream.hpp"

#include <fmt/format.h>

namespace perigee::kernels {

std::optional<uint32_t> activations_at(const kv_layout& layout, layer_span layers, uint64_t bytes_block) {
  if (bytes_block == 0 || layout.layer_bytes == 0)
    return std::nullopt;
  auto needed = (bytes_block + layout.layer_bytes - 1) / layout.layer_bytes;
  if (layers.first >= needed)
    return 0;
  if (layers.end_of(layout.layers) + needed <= layout.layers)
    return layers.end_of(layout.layers);
  return std::nullopt;
}

uint32_t stages_max(const kv_layout& layout, uint64_t bytes_block, uint32_t limit) {
  auto fits = [&](uint32_t stages) {
    for (auto stage = uint32_t{0}; stage < stages; ++stage)
      if (!activations_at(layout, stage_layers(layout.layers, stage, stages), bytes_block))
        return false;
    return true;
  };
  auto most = uint32_t{1};
  while (most < limit && most < layout.layers && fits(most + 1))
    ++most;
  return most;
}

status check_layers(const prefill_work& work, const kv_layout& layout, uint64_t bytes_block, bool by_layer) {
  auto end = work.layers.end_of(layout.layers);
  auto is_passage = work.passage != 0;
  if (is_passage && !by_layer)
    return {errc::unsupported, fmt::format("passage is {}; allowed: 0 on this device", work.passage)};
  if (work.layers.first == 0 && end == layout.layers)
    return {};
  auto named = [&] { return fmt::format("layers {} to {} of {}", work.layers.first, end, layout.layers); };
  if (bytes_block == 0 && !is_passage)
    return {errc::unsupported, named() + ": this device runs all layers of a model; use one that can run a part"};
  if (work.layers.first >= end || end > layout.layers)
    return {errc::invalid_argument, named() + "; allowed: a range that is not empty, within the model"};
  if (end != layout.layers && !work.samples.empty())
    return {errc::invalid_argument, named() + " and samples; allowed: samples where the last layer runs"};
  if (!is_passage && !activations_at(layout, work.layers, bytes_block))
    return {errc::invalid_argument, fmt::format("{}: no room for {} bytes of activations beside them in a block of {}",
                                                named(), bytes_block, layout.block_bytes())};
  return {};
}

} // namespace perigee::kernels
