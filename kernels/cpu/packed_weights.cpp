// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/packed_weights.hpp"

#include "kernels/cpu/memory_nodes.hpp"
#include "kernels/cpu/thread_pool.hpp"

#include <algorithm>
#include <atomic>
#include <thread>

namespace perigee::kernels::cpu {

namespace {

// Panels that one thread packs at a time: some megabytes.
constexpr auto piece_panels = uint32_t{16};

struct piece {
  packed_matrix to;
  std::span<const matrix_view> from;
  uint32_t begin;
  uint32_t end;
};

} // namespace

packed_weights::packed_weights(const transformer_weights& weights, bool int8,
                               const std::function<void(double share)>& tell) {
  int8 = int8 || weights.type == dtype::q8_0;
  using parts = std::vector<matrix_view>;
  auto all = std::vector<parts>{};
  for (const auto& from : weights.layers) {
    all.push_back({from.q, from.k, from.v});
    all.push_back({from.o});
    all.push_back({from.gate, from.up});
    all.push_back({from.down});
  }
  all.push_back({weights.output});
  auto bytes = size_t{0};
  for (const auto& one : all)
    bytes += packed_matrix::bytes_for(one, int8);
  memory_ = aligned_buffer<std::byte>{bytes};
  spread_over_memory_nodes({memory_.data(), memory_.size()}, memory_nodes());
  auto* at = memory_.data();
  auto next = all.begin();
  auto pieces = std::vector<piece>{};
  auto place = [&] {
    const auto& from = *next++;
    auto packed = packed_matrix::unpacked(from, at, int8);
    at += packed.bytes(); // panels are multiples of 64 bytes
    for (auto begin = uint32_t{0}; begin < packed.panels(); begin += piece_panels)
      pieces.push_back({packed, from, begin, std::min(packed.panels(), begin + piece_panels)});
    return packed;
  };
  layers_.resize(weights.layers.size());
  for (auto& to : layers_)
    to = {place(), place(), place(), place()};
  output_ = place();
  auto helpers = thread_pool{std::max(1u, std::thread::hardware_concurrency())};
  auto count = static_cast<uint32_t>(pieces.size());
  auto done = std::atomic<uint32_t>{0};
  helpers.run(count, [&](uint32_t i, uint32_t) {
    const auto& one = pieces[i];
    one.to.pack(one.from, one.begin, one.end);
    auto before = done.fetch_add(1, std::memory_order_relaxed);
    if (tell && uint64_t{before} * 100 / count != (uint64_t{before} + 1) * 100 / count)
      tell((before + 1.0) / count);
  });
}

} // namespace perigee::kernels::cpu
