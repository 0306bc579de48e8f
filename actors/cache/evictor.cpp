// SPDX-License-Identifier: Apache-2.0
#include "actors/cache/evictor.hpp"

#include <algorithm>
#include <cassert>

namespace perigee {

evictor::rules evictor::make(eviction rule, uint32_t slots) {
  switch (rule) {
  case eviction::lru: return evict_lru{};
  case eviction::lfu: return evict_lfu{};
  case eviction::length_aware: return evict_length_aware{};
  case eviction::reuse: return evict_reuse{slots};
  }
  assert(false);
  __builtin_unreachable();
}

evictor::evictor(eviction rule, uint32_t slots, uint32_t copies_cool)
  : rule_(make(rule, slots)),
    cool_(copies_cool == 0 ? 0 : std::max<uint64_t>(uint64_t{slots} * copies_cool / 100, 1)) {}

void evictor::store(uint32_t slot, const block_key& key, std::optional<uint32_t> before) {
  if (slot >= slots_.size())
    slots_.resize(std::max<size_t>(slot + size_t{1}, 2 * slots_.size()));
  auto& at = slots_[slot];
  assert(!at.cached);
  at = {};
  at.cached = at.held = true;
  at.block.key = key;
  at.block.last_use = clock_;
  if (before) {
    auto& parent = slots_.at(*before);
    assert(parent.cached && *before != slot);
    // One that nobody held could be given up until now.
    if (may_go(parent))
      remove(*before);
    ++parent.after;
    at.before = *before;
    at.block.depth = parent.block.depth + 1;
  }
  std::visit([&](auto& rule) { rule.stored(at.block, clock_); }, rule_);
}

void evictor::read(uint32_t slot) {
  auto& at = slots_.at(slot);
  assert(at.cached && at.held);
  ++at.block.reads;
  std::visit([&](auto& rule) { rule.read(at.block, clock_); }, rule_);
}

void evictor::copied(uint32_t slot) {
  auto& at = slots_.at(slot);
  assert(at.cached && at.held);
  at.copied = true;
}

void evictor::hold(uint32_t slot) {
  auto& at = slots_.at(slot);
  assert(at.cached && !at.held);
  if (may_go(at))
    remove(slot);
  at.held = true;
}

void evictor::let_go(uint32_t slot) {
  auto& at = slots_.at(slot);
  assert(at.cached && at.held);
  at.held = false;
  at.block.last_use = ++clock_;
  if (at.after == 0)
    add(slot);
}

void evictor::add(uint32_t slot) {
  const auto& at = slots_[slot];
  std::visit([&](auto& rule) { rule.add(slot, at.block, clock_); }, rule_);
  if (at.copied && cool_ > 0)
    copies_.emplace(at.block.last_use, slot);
}

void evictor::remove(uint32_t slot) {
  const auto& at = slots_[slot];
  std::visit([&](auto& rule) { rule.remove(slot, at.block); }, rule_);
  copies_.erase({at.block.last_use, slot});
}

std::optional<uint32_t> evictor::victim() {
  if (!copies_.empty() && clock_ - copies_.begin()->first >= cool_)
    return copies_.begin()->second;
  return std::visit([&](auto& rule) { return rule.victim(clock_); }, rule_);
}

void evictor::evict(uint32_t slot) {
  auto& at = slots_.at(slot);
  assert(may_go(at));
  remove(slot);
  std::visit([&](auto& rule) { rule.evicted(at.block); }, rule_);
  at.cached = false;
  if (at.before == none)
    return;
  auto& parent = slots_[at.before];
  --parent.after;
  if (may_go(parent))
    add(at.before);
}

bool evictor::check() const {
  auto after = std::vector<uint32_t>(slots_.size(), 0);
  for (const auto& at : slots_)
    if (at.cached && at.before != none) {
      if (!slots_[at.before].cached)
        return false;
      ++after[at.before];
    }
  for (uint32_t slot = 0; slot < slots_.size(); ++slot) {
    const auto& at = slots_[slot];
    if (at.cached && at.after != after[slot])
      return false;
    auto offered = std::visit([&](const auto& rule) { return rule.contains(slot, at.block); }, rule_);
    if (at.cached && offered != may_go(at))
      return false;
    if (at.cached && copies_.contains({at.block.last_use, slot}) != (offered && at.copied && cool_ > 0))
      return false;
  }
  return true;
}

} // namespace perigee
