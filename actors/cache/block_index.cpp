// SPDX-License-Identifier: Apache-2.0
#include "actors/cache/block_index.hpp"

#include <cassert>
#include <utility>

namespace perigee {

block_index::block_index(uint32_t slots, eviction rule, uint32_t copies_cool)
  : pool_(slots), evictor_(rule, slots, copies_cool), keys_(slots) {}

std::optional<uint32_t> block_index::find(const block_key& key) const {
  auto at = slots_.find(key);
  if (at == slots_.end())
    return std::nullopt;
  return at->second;
}

void block_index::pin(uint32_t slot) {
  if (pool_.refs(slot) == 1)
    evictor_.hold(slot);
  pool_.add_ref(slot);
}

void block_index::unpin(uint32_t slot) {
  [[maybe_unused]] auto freed = pool_.drop_ref(slot);
  assert(!freed);
  if (pool_.refs(slot) == 1)
    evictor_.let_go(slot);
}

std::optional<uint32_t> block_index::take() {
  if (auto free = pool_.take(1, slot_state::transfer))
    return free->front();
  auto victim = evictor_.victim();
  if (!victim)
    return std::nullopt;
  evictor_.evict(*victim);
  slots_.erase(keys_[*victim]);
  changes_.push_back({keys_[*victim], false});
  [[maybe_unused]] auto freed = pool_.drop_ref(*victim);
  assert(freed);
  return pool_.take(1, slot_state::transfer)->front();
}

void block_index::give_back(uint32_t slot) {
  assert(pool_.state(slot) == slot_state::transfer);
  pool_.free(slot);
}

void block_index::store(const block_key& key, uint32_t slot, const std::optional<block_key>& before) {
  [[maybe_unused]] auto added = slots_.emplace(key, slot).second;
  assert(added);
  keys_[slot] = key;
  evictor_.store(slot, key, before ? find(*before) : std::nullopt);
  pool_.to_live(slot);
  pool_.add_ref(slot);
  changes_.push_back({key, true});
}

std::vector<index_event> block_index::take_changes() {
  return std::exchange(changes_, {});
}

std::optional<block_key> block_index::next(const std::optional<block_key>& key) const {
  auto at = key ? slots_.upper_bound(*key) : slots_.begin();
  if (at == slots_.end())
    return std::nullopt;
  return at->first;
}

bool block_index::check() const {
  if (!pool_.check() || !evictor_.check() || pool_.count(slot_state::live) != slots_.size())
    return false;
  for (const auto& [key, slot] : slots_)
    if (pool_.state(slot) != slot_state::live || keys_[slot] != key || evictor_.held(slot) != (pool_.refs(slot) > 1))
      return false;
  return true;
}

} // namespace perigee
