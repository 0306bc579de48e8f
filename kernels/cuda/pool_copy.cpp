// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/pool_copy.hpp"

#include "kernels/cuda/launch.hpp"

#include <bit>

namespace perigee::kernels::cuda {

pool_copy::pool_copy(machine& on, const kv_layout& layout, uint32_t slots)
  : on_(on), layout_(layout), device_(on, slots * layout.block_bytes()), host_(on, slots * layout.block_bytes(), true),
    ranges_(on, 1024), computed_(on.make_event()), exported_{on.make_event(), on.make_event()} {}

void pool_copy::follow_compute() {
  on_.record(queue::compute, computed_);
  on_.wait(queue::copy, computed_);
}

void pool_copy::put(std::span<const copy_range> ranges, queue where) {
  if (ranges.size() > ranges_.size())
    ranges_ = device_array<copy_range>{on_, std::bit_ceil(ranges.size())};
  on_.upload(where, ranges_.data(), ranges.data(), ranges.size_bytes());
}

void pool_copy::begin_layers(std::span<const uint32_t> slots, std::optional<uint32_t> first) {
  list_.clear();
  layer_first_ = first.value_or(0);
  for (auto slot : slots) {
    auto at = first ? slot * layout_.layer_bytes : layout_.offset(slot);
    list_.push_back({at, at});
    if (!first)
      behind_.erase(slot);
  }
  put(list_, queue::copy);
}

void pool_copy::export_layer(uint32_t layer) {
  follow_compute();
  copy_ranges(on_, queue::copy,
              {device_.data() + layout_.offset(0, layer - layer_first_),
               host_.data() + layout_.offset(0, layer - layer_first_), ranges_.data(), layout_.layer_bytes},
              static_cast<uint32_t>(list_.size()));
  on_.record(queue::copy, exported_[layer % 2]);
}

void pool_copy::export_blocks(std::span<const uint32_t> slots) {
  if (slots.empty())
    return;
  follow_compute();
  for (auto slot : slots) {
    auto at = layout_.offset(slot);
    on_.download(queue::copy, host_.data() + at, device_.data() + at, layout_.block_bytes());
    behind_.erase(slot);
  }
}

void pool_copy::import_blocks(std::span<const uint32_t> slots) {
  for (auto slot : slots) {
    auto at = layout_.offset(slot);
    on_.upload(queue::compute, device_.data() + at, host_.data() + at, layout_.block_bytes());
    behind_.erase(slot);
  }
}

void pool_copy::copy_blocks(std::span<const std::pair<uint32_t, uint32_t>> pairs) {
  // One after the other, as the processor does it: a pair may read what an earlier one wrote.
  for (auto [from, to] : pairs) {
    list_ = {{layout_.offset(from), layout_.offset(to)}};
    put(list_, queue::compute);
    copy_ranges(on_, queue::compute, {device_.data(), device_.data(), ranges_.data(), layout_.block_bytes()}, 1);
  }
}

void pool_copy::export_behind() {
  auto slots = std::vector<uint32_t>(behind_.begin(), behind_.end());
  export_blocks(slots);
}

} // namespace perigee::kernels::cuda
