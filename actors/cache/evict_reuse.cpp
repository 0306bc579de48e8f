// SPDX-License-Identifier: Apache-2.0
#include "actors/cache/evict_reuse.hpp"

#include <algorithm>
#include <bit>
#include <cassert>

namespace perigee {

namespace {

constexpr uint64_t first_bin = 16;
constexpr double fades = 0.9;     // what was counted before counts so much less after each learning
constexpr double known_from = 32; // counted blocks of a class; of fewer nothing is concluded

} // namespace

evict_reuse::evict_reuse(uint32_t slots) : slots_(std::max(slots, 1u)) {
  // Until something is known, the oldest goes first, whatever its class.
  for (auto& of_class : worth_)
    for (size_t bin = 0; bin < bins; ++bin)
      of_class[bin] = 1.0 / static_cast<double>(begin_of(bin + 1));
}

size_t evict_reuse::class_of(uint32_t reads) {
  return std::min<size_t>(reads, classes - 1);
}

size_t evict_reuse::bin_of(uint64_t age) {
  return std::min(static_cast<size_t>(std::bit_width(age / first_bin)), bins - 1);
}

uint64_t evict_reuse::begin_of(size_t bin) {
  return bin == 0 ? 0 : first_bin << (bin - 1);
}

double evict_reuse::width_of(size_t bin) {
  return static_cast<double>(begin_of(bin + 1) - begin_of(bin));
}

double evict_reuse::worth(uint32_t reads, uint64_t age) const {
  return worth_[class_of(reads)][bin_of(age)];
}

// -- learning --

void evict_reuse::stored(cached_block& block, uint64_t now) {
  if (auto known = ghosts_.find(block.key); known != ghosts_.end()) {
    note_read(known->second.reads, now - known->second.last_use);
    block.reads = known->second.reads + 1;
    ghosts_.erase(known);
  }
  ++counts_[class_of(block.reads)].idle;
  learn(now);
}

void evict_reuse::read(cached_block& block, uint64_t now) {
  note_read(block.reads - 1, now - block.last_use);
  ++counts_[class_of(block.reads)].idle;
  learn(now);
}

void evict_reuse::note_read(uint32_t reads, uint64_t age) {
  ++counts_[class_of(reads)].read_again[bin_of(age)];
}

void evict_reuse::evicted(const cached_block& block) {
  ghosts_[block.key] = {block.last_use, block.reads};
  forget_.emplace_back(block.key, block.last_use);
  while (forget_.size() > ghosts_per_slot * slots_) {
    auto [key, last_use] = forget_.front();
    forget_.pop_front();
    if (auto at = ghosts_.find(key); at != ghosts_.end() && at->second.last_use == last_use)
      ghosts_.erase(at);
  }
}

void evict_reuse::learn(uint64_t now) {
  if (now < next_learning_)
    return;
  next_learning_ = now + slots_;
  for (size_t kind = 0; kind < classes; ++kind) {
    auto& counts = counts_[kind];
    if (counts.idle >= known_from) {
      std::array<double, bins + 1> left; // blocks not read again before the bin begins
      left[0] = counts.idle;
      for (size_t bin = 0; bin < bins; ++bin)
        left[bin + 1] = std::max(left[bin] - counts.read_again[bin], 0.0);
      for (size_t from = 0; from < bins; ++from) {
        auto best = 0.0;
        auto reads = 0.0;
        auto time = 0.0;
        for (auto to = from; to < bins; ++to) {
          reads += counts.read_again[to];
          time += width_of(to) * (left[to] + left[to + 1]) / 2;
          if (time > 0)
            best = std::max(best, reads / time);
        }
        worth_[kind][from] = best;
      }
    }
    counts.idle *= fades;
    for (auto& count : counts.read_again)
      count *= fades;
  }
}

// -- what may be given up --

void evict_reuse::add(uint32_t slot, const cached_block& block, uint64_t now) {
  if (slot >= bin_of_slot_.size())
    bin_of_slot_.resize(std::max<size_t>(slot + size_t{1}, 2 * bin_of_slot_.size()));
  auto bin = bin_of(now - block.last_use);
  bin_of_slot_[slot] = static_cast<uint8_t>(bin);
  waiting_[class_of(block.reads)][bin].emplace(block.last_use, slot);
}

void evict_reuse::remove(uint32_t slot, const cached_block& block) {
  waiting_[class_of(block.reads)][bin_of_slot_[slot]].erase({block.last_use, slot});
}

bool evict_reuse::contains(uint32_t slot, const cached_block& block) const {
  return slot < bin_of_slot_.size()
         && waiting_[class_of(block.reads)][bin_of_slot_[slot]].contains({block.last_use, slot});
}

/// Moves blocks to the bins of their present ages.
void evict_reuse::let_age(uint64_t now) {
  for (auto& of_class : waiting_)
    for (size_t bin = 0; bin + 1 < bins; ++bin) {
      auto& here = of_class[bin];
      while (!here.empty() && now - here.begin()->first >= begin_of(bin + 1)) {
        auto moved = here.extract(here.begin());
        bin_of_slot_[moved.value().second] = static_cast<uint8_t>(bin + 1);
        of_class[bin + 1].insert(std::move(moved));
      }
    }
}

std::optional<uint32_t> evict_reuse::victim(uint64_t now) {
  let_age(now);
  const std::pair<uint64_t, uint32_t>* best = nullptr;
  auto best_worth = 0.0;
  for (size_t kind = 0; kind < classes; ++kind)
    for (size_t bin = 0; bin < bins; ++bin) {
      if (waiting_[kind][bin].empty())
        continue;
      const auto& oldest = *waiting_[kind][bin].begin();
      auto worth = worth_[kind][bin];
      if (best == nullptr || worth < best_worth || (worth == best_worth && oldest < *best)) {
        best = &oldest;
        best_worth = worth;
      }
    }
  return best == nullptr ? std::nullopt : std::optional{best->second};
}

} // namespace perigee
