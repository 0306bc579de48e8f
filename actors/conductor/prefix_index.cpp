// SPDX-License-Identifier: Apache-2.0
#include "actors/conductor/prefix_index.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <tuple>

namespace perigee {

namespace {

constexpr auto slots_first = size_t{8};

} // namespace

prefix_index::prefix_index(uint32_t part_bits, bool stays_small)
  : part_shift_(64 - part_bits), quarters_max_(stays_small ? 1 : 3), parts_(size_t{1} << part_bits) {
  assert(part_bits > 0 && part_bits < 32);
}

const prefix_index::slot* prefix_index::find_slot(const block_key& key) const {
  auto hashed = hash(key);
  const auto& at = part_of(hashed);
  if (at.used == 0)
    return nullptr;
  const auto& found = at.slots[probe(at, hashed, key)];
  return found.first == nobody ? nullptr : &found;
}

/// Takes the free slot at `place`, where a search for the key ended.
prefix_index::slot& prefix_index::make_slot(const block_key& key, uint64_t hashed, part& at, size_t place) {
  if ((size_t{at.used} + 1) * 4 > at.slots.size() * quarters_max_) {
    grow(at);
    place = probe(at, hashed, key);
  }
  ++at.used;
  ++blocks_;
  auto& fresh = at.slots[place];
  fresh.key = key;
  return fresh;
}

size_t prefix_index::bytes() const noexcept {
  auto total = parts_.capacity() * sizeof(part) + counts_.capacity() * sizeof(uint64_t) + lists_.bytes();
  for (const auto& at : parts_)
    total += at.slots.capacity() * sizeof(slot);
  return total;
}

void prefix_index::grow(part& at) {
  auto bigger = std::vector<slot>(std::max(slots_first, at.slots.size() * 2));
  auto mask = bigger.size() - 1;
  for (const auto& moved : at.slots) {
    if (moved.first == nobody)
      continue;
    auto i = hash(moved.key) & mask;
    while (bigger[i].first != nobody)
      i = (i + 1) & mask;
    bigger[i] = moved;
  }
  at.slots = std::move(bigger);
}

void prefix_index::free_slot(part& at, size_t hole) {
  auto mask = at.slots.size() - 1;
  // What stands behind the hole and could stand in it moves there, so that no search ends too early.
  for (auto i = (hole + 1) & mask; at.slots[i].first != nobody; i = (i + 1) & mask) {
    auto home = hash(at.slots[i].key) & mask;
    if (((i - home) & mask) >= ((i - hole) & mask)) {
      at.slots[hole] = at.slots[i];
      hole = i;
    }
  }
  at.slots[hole].first = at.slots[hole].second = nobody;
  --at.used;
  --blocks_;
}

std::span<const uint32_t> prefix_index::replicas(const slot& at) const {
  if (at.first == nobody)
    return {};
  if (at.first & is_list)
    return lists_.read(at.second, at.first & ~is_list);
  return {&at.first, at.second == nobody ? size_t{1} : size_t{2}};
}

/// To one that has replicas.
bool prefix_index::add(slot& at, uint32_t shard) {
  auto held = replicas(at);
  if (std::binary_search(held.begin(), held.end(), shard))
    return false;
  if (held.size() == 1) {
    std::tie(at.first, at.second) = std::minmax(uint32_t{at.first}, uint32_t{shard});
  } else if (held.size() == 2) {
    auto three = std::array{at.first, at.second, shard};
    std::sort(three.begin(), three.end());
    at.first = is_list | 3;
    at.second = lists_.make(three);
  } else {
    at.second = lists_.insert(at.second, at.first & ~is_list, shard);
    ++at.first;
  }
  return true;
}

bool prefix_index::remove(slot& at, uint32_t shard) {
  auto held = replicas(at);
  if (!std::binary_search(held.begin(), held.end(), shard))
    return false;
  if (at.first & is_list) {
    auto length = at.first & ~is_list;
    at.second = lists_.erase(at.second, length, shard);
    --at.first;
    if (--length == 2) {
      auto rest = lists_.read(at.second, length);
      auto [low, high] = std::pair{rest[0], rest[1]};
      lists_.drop(at.second, length);
      at.first = low;
      at.second = high;
    }
  } else {
    at.first = at.first == shard ? at.second : at.first;
    at.second = nobody;
  }
  return true;
}

void prefix_index::store(const block_key& key, uint32_t shard) {
  assert(shard < is_list);
  auto hashed = hash(key);
  auto& at = part_of(hashed);
  if (at.slots.empty())
    grow(at);
  auto place = probe(at, hashed, key);
  if (at.slots[place].first == nobody)
    make_slot(key, hashed, at, place).first = shard;
  else if (!add(at.slots[place], shard))
    return;
  if (shard >= counts_.size())
    counts_.resize(shard + 1);
  ++counts_[shard];
  ++version_;
}

void prefix_index::evict(const block_key& key, uint32_t shard) {
  auto hashed = hash(key);
  auto& at = part_of(hashed);
  if (at.used == 0)
    return;
  auto place = probe(at, hashed, key);
  auto& known = at.slots[place];
  auto is_only_one = known.first == shard && known.second == nobody;
  if (known.first == nobody || (!is_only_one && !remove(known, shard)))
    return;
  --counts_[shard];
  ++version_;
  if (is_only_one)
    free_slot(at, place);
}

void prefix_index::prefetch_some(std::span<const block_key> keys) const noexcept {
  if (blocks_ <= near_blocks)
    return;
  for (const auto& key : keys)
    prefetch(key);
}

void prefix_index::store(std::span<const block_key> keys, uint32_t shard) {
  for (; !keys.empty(); keys = keys.subspan(std::min(ahead, keys.size()))) {
    auto some = keys.first(std::min(ahead, keys.size()));
    prefetch_some(some);
    for (const auto& key : some)
      store(key, shard);
  }
}

void prefix_index::evict(std::span<const block_key> keys, uint32_t shard) {
  for (; !keys.empty(); keys = keys.subspan(std::min(ahead, keys.size()))) {
    auto some = keys.first(std::min(ahead, keys.size()));
    prefetch_some(some);
    for (const auto& key : some)
      evict(key, shard);
  }
}

void prefix_index::drop_shard(uint32_t shard) {
  if (blocks_of(shard) == 0)
    return;
  auto held = std::vector<block_key>{};
  for (const auto& at : parts_)
    for (const auto& here : at.slots)
      if (auto all = replicas(here); std::binary_search(all.begin(), all.end(), shard))
        held.push_back(here.key);
  for (const auto& key : held)
    evict(key, shard);
}

std::span<const uint32_t> prefix_index::find(const block_key& key) const {
  const auto* known = find_slot(key);
  return known ? replicas(*known) : std::span<const uint32_t>{};
}

void prefix_index::lookup(std::span<const block_key> keys, std::vector<std::span<const uint32_t>>& found) const {
  found.clear();
  for (auto i = size_t{0}; i < keys.size(); ++i) {
    if (i % ahead == 0)
      prefetch_some(keys.subspan(i, std::min(ahead, keys.size() - i)));
    auto held = find(keys[i]);
    if (held.empty())
      break;
    found.push_back(held);
  }
}

bool prefix_index::holds(const block_key& key, uint32_t shard) const {
  auto held = find(key);
  return std::binary_search(held.begin(), held.end(), shard);
}

uint64_t prefix_index::blocks_of(uint32_t shard) const {
  return shard < counts_.size() ? counts_[shard] : 0;
}

std::vector<std::pair<uint32_t, uint32_t>> plan_prefix(const std::vector<std::span<const uint32_t>>& found,
                                                       uint32_t blocks, uint32_t local, uint32_t source) {
  assert(blocks <= found.size());
  auto plan = std::vector<std::pair<uint32_t, uint32_t>>{};
  auto has = [&](uint32_t block, uint32_t shard) {
    return std::binary_search(found[block].begin(), found[block].end(), shard);
  };
  for (auto block = uint32_t{0}; block < blocks; ++block) {
    auto shard = has(block, local)                                ? local
                 : !plan.empty() && has(block, plan.back().first) ? plan.back().first
                 : has(block, source)                             ? source
                                                                  : found[block].front();
    if (!plan.empty() && plan.back().first == shard)
      ++plan.back().second;
    else
      plan.emplace_back(shard, 1);
  }
  return plan;
}

} // namespace perigee
