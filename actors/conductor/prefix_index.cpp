// SPDX-License-Identifier: Apache-2.0
#include "actors/conductor/prefix_index.hpp"

#include <algorithm>
#include <cassert>

namespace perigee {

void prefix_index::store(const block_key& key, uint32_t shard) {
  auto& replicas = entries_[key];
  auto at = std::lower_bound(replicas.begin(), replicas.end(), shard);
  if (at != replicas.end() && *at == shard)
    return;
  replicas.insert(at, shard);
  ++counts_[shard];
}

void prefix_index::evict(const block_key& key, uint32_t shard) {
  auto entry = entries_.find(key);
  if (entry == entries_.end())
    return;
  auto& replicas = entry->second;
  auto at = std::lower_bound(replicas.begin(), replicas.end(), shard);
  if (at == replicas.end() || *at != shard)
    return;
  replicas.erase(at);
  --counts_[shard];
  if (replicas.empty())
    entries_.erase(entry);
}

void prefix_index::drop_shard(uint32_t shard) {
  if (blocks_of(shard) == 0)
    return;
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    auto& replicas = entry->second;
    replicas.erase(std::remove(replicas.begin(), replicas.end(), shard), replicas.end());
    entry = replicas.empty() ? entries_.erase(entry) : std::next(entry);
  }
  counts_.erase(shard);
}

std::vector<std::span<const uint32_t>> prefix_index::lookup(std::span<const block_key> keys) const {
  auto found = std::vector<std::span<const uint32_t>>{};
  for (const auto& key : keys) {
    auto entry = entries_.find(key);
    if (entry == entries_.end())
      break;
    found.emplace_back(entry->second.data(), entry->second.size());
  }
  return found;
}

bool prefix_index::holds(const block_key& key, uint32_t shard) const {
  auto entry = entries_.find(key);
  return entry != entries_.end() && std::binary_search(entry->second.begin(), entry->second.end(), shard);
}

uint64_t prefix_index::blocks_of(uint32_t shard) const {
  auto at = counts_.find(shard);
  return at == counts_.end() ? 0 : at->second;
}

uint32_t leading_blocks(const std::vector<std::span<const uint32_t>>& found, uint32_t shard) {
  auto count = uint32_t{0};
  while (count < found.size() && std::binary_search(found[count].begin(), found[count].end(), shard))
    ++count;
  return count;
}

std::vector<std::pair<uint32_t, uint32_t>> plan_prefix(const std::vector<std::span<const uint32_t>>& found,
                                                       uint32_t blocks, uint32_t preferred) {
  assert(blocks <= found.size());
  auto plan = std::vector<std::pair<uint32_t, uint32_t>>{}; // shard, blocks
  auto has = [&](uint32_t block, uint32_t shard) {
    return std::binary_search(found[block].begin(), found[block].end(), shard);
  };
  for (auto block = uint32_t{0}; block < blocks; ++block) {
    auto shard = has(block, preferred)                             ? preferred
                 : !plan.empty() && has(block, plan.back().first) ? plan.back().first
                                                                   : found[block].front();
    if (!plan.empty() && plan.back().first == shard)
      ++plan.back().second;
    else
      plan.emplace_back(shard, 1);
  }
  return plan;
}

} // namespace perigee
