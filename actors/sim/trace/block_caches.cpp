// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/trace/block_caches.hpp"

#include <algorithm>
#include <set>

namespace perigee::sim {

block_cache::block_cache(eviction rule, uint64_t capacity)
  : capacity_(static_cast<uint32_t>(std::min<uint64_t>(capacity, none))), evictor_(rule, capacity_) {}

uint64_t block_cache::match_and_insert(std::span<const uint32_t> request) {
  auto matched = size_t{0};
  while (matched < request.size() && holds(request[matched])) {
    evictor_.hold(slots_[request[matched]]);
    evictor_.read(slots_[request[matched++]]);
  }
  auto cached = matched;
  for (; cached < request.size(); ++cached) {
    auto slot = take();
    if (!slot)
      break; // all that is cached is of this request
    auto block = request[cached];
    if (block >= slots_.size())
      slots_.resize(std::max<size_t>(block + size_t{1}, 2 * slots_.size()), none);
    slots_[block] = *slot;
    blocks_[*slot] = block;
    evictor_.store(*slot, {0, block}, cached == 0 ? std::nullopt : std::optional{slots_[request[cached - 1]]});
  }
  // Last block first, so that parents were used later.
  for (; cached > 0; --cached)
    evictor_.let_go(slots_[request[cached - 1]]);
  return matched;
}

std::optional<uint32_t> block_cache::take() {
  if (blocks_.size() < capacity_) {
    blocks_.push_back(none);
    return static_cast<uint32_t>(blocks_.size() - 1);
  }
  auto victim = evictor_.victim();
  if (victim) {
    evictor_.evict(*victim);
    slots_[blocks_[*victim]] = none;
  }
  return victim;
}

uint64_t belady_hits(std::span<const uint32_t> accesses, uint64_t capacity) {
  constexpr auto never = std::numeric_limits<uint64_t>::max();
  auto blocks = accesses.empty() ? size_t{0} : size_t{*std::ranges::max_element(accesses)} + 1;
  auto next_use = std::vector<uint64_t>(accesses.size());
  auto seen_at = std::vector<uint64_t>(blocks, never);
  for (auto i = accesses.size(); i > 0; --i) {
    next_use[i - 1] = seen_at[accesses[i - 1]];
    seen_at[accesses[i - 1]] = i - 1;
  }
  // The cached blocks by their next use. What is cached and used next is always used at the current place or later.
  auto cached = std::set<uint64_t>{};
  auto hits = uint64_t{0};
  for (size_t i = 0; i < accesses.size(); ++i) {
    hits += cached.erase(i);
    if (next_use[i] == never || capacity == 0)
      continue;
    if (cached.size() == capacity) {
      if (*cached.rbegin() < next_use[i])
        continue;
      cached.erase(std::prev(cached.end()));
    }
    cached.insert(next_use[i]);
  }
  return hits;
}

} // namespace perigee::sim
