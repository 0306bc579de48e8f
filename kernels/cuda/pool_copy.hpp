// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/machine.hpp"
#include "kernels/kv_layout.hpp"

#include <optional>
#include <set>
#include <span>
#include <vector>

namespace perigee::kernels::cuda {

/// A pool in device memory and its pinned copy on the host, and which slots of the copy are behind. Moves blocks on the
/// copy queue, beside what computes. Used by one thread at a time, but for `host`.
class pool_copy {
public:
  /// Throws `failure` (exhausted) where either memory does not hold `slots` blocks.
  pool_copy(machine& on, const kv_layout& layout, uint32_t slots);

  std::byte* device() const noexcept {
    return device_.data();
  }
  std::span<std::byte> host() const noexcept {
    return {host_.data(), host_.size()};
  }

  /// Names the blocks that `export_layer` is about; until it is called again. `first`: instead of slots they are places
  /// that begin with that layer (`prefill_work`).
  void begin_layers(std::span<const uint32_t> slots, std::optional<uint32_t> first = {});
  /// Copies one layer of these blocks to the host, once what is on the compute queue now is done. `layer_exported` of
  /// the same layer tells when.
  void export_layer(uint32_t layer);
  machine::event layer_exported(uint32_t layer) const noexcept {
    return exported_[layer % 2];
  }

  /// Copies whole blocks to the host, once what is on the compute queue now is done.
  void export_blocks(std::span<const uint32_t> slots);
  /// Copies whole blocks to the device, before what the compute queue gets next.
  void import_blocks(std::span<const uint32_t> slots);
  /// Copies blocks within the device, in order with what computes.
  void copy_blocks(std::span<const std::pair<uint32_t, uint32_t>> pairs);

  /// The device's block is newer than the host's.
  void mark(uint32_t slot) {
    behind_.insert(slot);
  }
  bool any_behind() const noexcept {
    return !behind_.empty();
  }
  /// Exports all that are.
  void export_behind();

private:
  void follow_compute();
  void put(std::span<const copy_range> ranges, queue where);

  machine& on_;
  kv_layout layout_;
  device_array<std::byte> device_;
  device_array<std::byte> host_;
  device_array<copy_range> ranges_;
  std::vector<copy_range> list_;
  uint32_t layer_first_ = 0;
  machine::event computed_;
  machine::event exported_[2];
  std::set<uint32_t> behind_;
};

} // namespace perigee::kernels::cuda
