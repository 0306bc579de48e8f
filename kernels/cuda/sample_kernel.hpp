// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/args.hpp"
#include "kernels/cuda/device.hpp"

/// Sampling on the device, by the rules of `kernels::sampler`. Weights are whole numbers (2^44 is the highest logit's),
/// so that sums do not depend on the order in which threads add, and a token is found without sorting: ids have keys
/// that ascend with their rank, and eight bits of a key are settled at a time by a histogram.
namespace perigee::kernels::cuda {

inline constexpr uint32_t sample_threads = 512;
inline constexpr uint32_t id_bits = 24;
inline constexpr uint32_t rank_bits = 32 + id_bits;

struct sample_shared {
  uint64_t bins[256];
  uint64_t sums[32];
  uint64_t key;
  uint64_t below;  ///< target left within the chosen bins
  uint64_t before; ///< sum of the bins above them
};

/// One block a sample.
struct sampling {
  const sample_args& a;
  sample_row row;
  const float* logits;
  sample_shared& shared;
  float highest;

  PERIGEE_DEVICE explicit sampling(const sample_args& args)
    : a(args), row(args.samples[block_x()]), logits(nullptr), shared(*static_cast<sample_shared*>(shared_memory())),
      highest(0) {}

  /// Ascends with the rank of a logit: a higher logit first, then a lower id.
  PERIGEE_DEVICE static uint64_t rank_key(uint32_t id, float logit) {
    auto bits = bits_of(logit + 0.0f); // there is one zero
    bits = bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
    return static_cast<uint64_t>(bits) << id_bits | order_key(id);
  }
  PERIGEE_DEVICE static uint64_t order_key(uint32_t id) {
    return (1u << id_bits) - 1 - id;
  }
  PERIGEE_DEVICE static int32_t id_of(uint64_t key) {
    return static_cast<int32_t>((1u << id_bits) - 1 - static_cast<uint32_t>(key & ((1u << id_bits) - 1)));
  }

  PERIGEE_DEVICE uint64_t weight(float logit) const {
    if (!(logit > lowest_float()))
      return 0;
    return static_cast<uint64_t>(exponential((logit - highest) / row.temperature) * 17592186044416.0f); // 2^44
  }

  PERIGEE_DEVICE uint64_t block_max(uint64_t value) {
    for (auto mask = 16u; mask > 0; mask /= 2)
      value = larger(value, shuffle_xor(value, mask));
    return over_warps(value, [](uint64_t x, uint64_t y) { return larger(x, y); });
  }
  PERIGEE_DEVICE uint64_t block_total(uint64_t value) {
    for (auto mask = 16u; mask > 0; mask /= 2)
      value += shuffle_xor(value, mask);
    return over_warps(value, [](uint64_t x, uint64_t y) { return x + y; });
  }
  template <class Join>
  PERIGEE_DEVICE uint64_t over_warps(uint64_t value, Join&& join) {
    sync_block();
    if (lane() == 0)
      shared.sums[warp()] = value;
    sync_block();
    auto all = shared.sums[0];
    for (auto i = 1u; i < threads() / 32; ++i)
      all = join(all, shared.sums[i]);
    return all;
  }

  /// Goes down the keys from the highest, adding `amount(id, logit)`, and stops where the sum reaches `target`, which
  /// is at least 1 and at most the sum of all. Returns that key, in every thread; `reached` is the sum with it.
  template <class Key, class Amount>
  PERIGEE_DEVICE uint64_t find(uint32_t bits, uint64_t target, Key&& key_of, Amount&& amount, uint64_t& reached) {
    auto prefix = uint64_t{0};
    auto above = uint64_t{0};
    auto chosen = uint64_t{0};
    for (auto shift = bits; shift > 0;) {
      shift -= 8;
      for (auto i = thread(); i < 256; i += threads())
        shared.bins[i] = 0;
      sync_block();
      for (auto id = thread(); id < a.vocab; id += threads()) {
        auto part = amount(id, logits[id]);
        auto key = key_of(id, logits[id]);
        if (part != 0 && key >> shift >> 8 == prefix)
          atomic_add(&shared.bins[key >> shift & 255], part);
      }
      sync_block();
      if (thread() == 0) {
        auto bin = 255u;
        auto sum = above;
        for (; bin > 0 && sum + shared.bins[bin] < target; --bin)
          sum += shared.bins[bin];
        shared.key = prefix << 8 | bin;
        shared.before = sum;
        shared.below = shared.bins[bin];
      }
      sync_block();
      prefix = shared.key;
      above = shared.before;
      chosen = shared.below;
      sync_block();
    }
    reached = above + chosen;
    return prefix;
  }

  /// Penalties and forbidden ids, on a copy of the row.
  PERIGEE_DEVICE void edit() {
    auto* copy = a.scratch + size_t{block_x()} * a.vocab;
    for (auto id = thread(); id < a.vocab; id += threads())
      copy[id] = logits[id];
    sync_block();
    for (auto i = row.edits_begin + thread(); i < row.edits_end; i += threads()) {
      auto change = a.edits[i];
      auto& logit = copy[change.id];
      if (change.generated == forbidden) {
        logit = lowest_float();
        continue;
      }
      logit = logit > 0 ? logit / row.repetition : logit * row.repetition;
      if (change.generated > 0)
        logit -= row.presence + row.frequency * static_cast<float>(change.generated);
    }
    sync_block();
    logits = copy;
  }

  PERIGEE_DEVICE void run() {
    if (row.logits_row == no_row)
      return;
    logits = a.logits + size_t{row.logits_row} * a.vocab;
    if (row.edits_begin < row.edits_end)
      edit();
    auto best = uint64_t{0}; // no comparison holds for a NaN, and a key is never 0
    for (auto id = thread(); id < a.vocab; id += threads())
      if (logits[id] >= lowest_float())
        best = larger(best, rank_key(id, logits[id]));
    best = block_max(best);
    highest = best == 0 ? lowest_float() : logits[id_of(best)];
    auto token = int32_t{-1};
    if (highest > lowest_float() && highest < -lowest_float())
      token = row.temperature == 0 ? id_of(best) : draw();
    if (thread() == 0)
      a.tokens[block_x()] = token;
  }

  PERIGEE_DEVICE int32_t draw() {
    auto by_rank = [](uint32_t id, float logit) { return rank_key(id, logit); };
    auto last = uint64_t{0}; // lowest key that is kept
    auto kept = [&](uint32_t id, float logit) { return rank_key(id, logit) >= last ? weight(logit) : 0; };
    auto sum = [&](auto&& amount) {
      auto mine = uint64_t{0};
      for (auto id = thread(); id < a.vocab; id += threads())
        mine += amount(id, logits[id]);
      return block_total(mine);
    };
    auto mass = uint64_t{0};
    if (row.top_k > 0 && row.top_k < a.vocab) {
      auto one = [](uint32_t, float logit) { return uint64_t{logit > lowest_float()}; };
      auto count = sum(one);
      last = find(rank_bits, smaller(count, uint64_t{row.top_k}), by_rank, one, mass);
    }
    mass = sum(kept);
    if (row.top_p < 1) {
      auto target = static_cast<uint64_t>(ceil(static_cast<double>(row.top_p) * static_cast<double>(mass)));
      target = larger(uint64_t{1}, smaller(target, mass));
      last = find(rank_bits, target, by_rank, kept, mass);
    }
    auto target = smaller(static_cast<uint64_t>(row.word * static_cast<double>(mass)), mass - 1) + 1;
    if (row.ranked != 0)
      return id_of(find(rank_bits, target, by_rank, kept, mass));
    return id_of(find(
      id_bits, target, [](uint32_t id, float) { return order_key(id); }, kept, mass));
  }
};

PERIGEE_DEVICE void sample(const sample_args& a) {
  sampling{a}.run();
}

} // namespace perigee::kernels::cuda
