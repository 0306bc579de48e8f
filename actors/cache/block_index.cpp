// SPDX-License-Identifier: Apache-2.0
#include "actors/cache/block_index.hpp"

#include <cassert>
#include <utility>

namespace perigee {

block_index::block_index(uint32_t slots, eviction rule, uint32_t copies_cool)
  : pool_(slots), evictor_(rule, slots, copies_cool), table_(slots) {}

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
  if (auto free = pool_.take_one(slot_state::transfer))
    return free;
  auto victim = evictor_.victim();
  if (!victim)
    return std::nullopt;
  evictor_.evict(*victim);
  table_.erase(*victim);
  changes_.push_back({table_.key_of(*victim), false});
  [[maybe_unused]] auto freed = pool_.drop_ref(*victim);
  assert(freed);
  return pool_.take_one(slot_state::transfer);
}

void block_index::give_back(uint32_t slot) {
  assert(pool_.state(slot) == slot_state::transfer);
  pool_.free(slot);
}

void block_index::store(const block_key& key, uint32_t slot, const std::optional<block_key>& before) {
  assert(!find(key));
  table_.insert(key, slot);
  evictor_.store(slot, key, before ? find(*before) : std::nullopt);
  pool_.to_live(slot);
  pool_.add_ref(slot);
  changes_.push_back({key, true});
}

std::vector<index_event> block_index::take_changes() {
  return std::exchange(changes_, {});
}

std::optional<block_key> block_index::next(const std::optional<block_key>& key) const {
  return table_.next(key);
}

bool block_index::check() const {
  if (!pool_.check() || !evictor_.check() || pool_.count(slot_state::live) != table_.size())
    return false;
  auto last = std::optional<block_key>{};
  for (uint32_t slot = 0; slot < pool_.capacity(); ++slot)
    if (pool_.state(slot) == slot_state::live
        && (find(table_.key_of(slot)) != slot || evictor_.held(slot) != (pool_.refs(slot) > 1)))
      return false;
  auto walked = uint32_t{0};
  for (auto at = next(std::nullopt); at; at = next(at)) {
    if (last && *at <= *last)
      return false;
    last = at;
    ++walked;
  }
  return walked == table_.size();
}

} // namespace perigee
