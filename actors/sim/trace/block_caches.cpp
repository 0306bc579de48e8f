// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/trace/block_caches.hpp"

#include <algorithm>
#include <set>

namespace perigee::sim {

uint64_t lru_blocks::match_and_insert(std::span<const uint32_t> request) {
  auto matched = uint64_t{0};
  while (matched < request.size() && holds(request[matched]))
    ++matched;
  if (capacity_ > 0)
    for (auto i = request.size(); i > 0; --i)
      touch(request[i - 1]);
  return matched;
}

void lru_blocks::touch(uint32_t block) {
  if (block >= blocks_.size())
    blocks_.resize(std::max<size_t>(block + size_t{1}, 2 * blocks_.size()));
  if (holds(block)) {
    unlink(block);
  } else if (size_ == capacity_) {
    unlink(oldest_);
  }
  blocks_[block] = {none, newest_};
  (newest_ == none ? oldest_ : blocks_[newest_].newer) = block;
  newest_ = block;
  ++size_;
}

void lru_blocks::unlink(uint32_t block) {
  auto [newer, older] = blocks_[block];
  (newer == none ? newest_ : blocks_[newer].older) = older;
  (older == none ? oldest_ : blocks_[older].newer) = newer;
  blocks_[block] = {};
  --size_;
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
