// SPDX-License-Identifier: Apache-2.0
#include "actors/cache/block_pool.hpp"

#include <cassert>

namespace perigee {

namespace {

constexpr size_t number(slot_state state) noexcept {
  return static_cast<size_t>(state);
}

} // namespace

block_pool::block_pool(uint32_t capacity) : slots_(capacity) {
  counts_[number(slot_state::free)] = capacity;
  for (uint32_t slot = 0; slot < capacity; ++slot)
    slots_[slot].next = slot + 1;
  last_free_ = capacity == 0 ? 0 : capacity - 1;
}

std::optional<std::vector<uint32_t>> block_pool::take(uint32_t n, slot_state state) {
  assert(state != slot_state::free);
  if (n > count(slot_state::free))
    return std::nullopt;
  auto out = std::vector<uint32_t>{};
  out.reserve(n);
  for (uint32_t i = 0; i < n; ++i)
    out.push_back(next_free(state));
  return out;
}

std::optional<uint32_t> block_pool::take_one(slot_state state) {
  assert(state != slot_state::free);
  if (count(slot_state::free) == 0)
    return std::nullopt;
  return next_free(state);
}

uint32_t block_pool::next_free(slot_state state) {
  auto slot = first_free_;
  auto& entry = at(slot);
  first_free_ = entry.next;
  change(entry, state);
  entry.refs = state == slot_state::live ? 1 : 0;
  return slot;
}

void block_pool::to_transfer(uint32_t slot) {
  auto& entry = at(slot);
  assert(entry.state == slot_state::reserved);
  change(entry, slot_state::transfer);
}

void block_pool::to_live(uint32_t slot) {
  auto& entry = at(slot);
  assert(entry.state == slot_state::reserved || entry.state == slot_state::transfer);
  change(entry, slot_state::live);
  entry.refs = 1;
}

void block_pool::add_ref(uint32_t slot) {
  auto& entry = at(slot);
  assert(entry.state == slot_state::live && entry.refs < UINT32_MAX);
  ++entry.refs;
}

bool block_pool::drop_ref(uint32_t slot) {
  auto& entry = at(slot);
  assert(entry.state == slot_state::live && entry.refs > 0);
  if (--entry.refs > 0)
    return false;
  to_free(slot);
  return true;
}

void block_pool::free(uint32_t slot) {
  assert(at(slot).state == slot_state::reserved || at(slot).state == slot_state::transfer);
  to_free(slot);
}

slot_state block_pool::state(uint32_t slot) const {
  return at(slot).state;
}

uint32_t block_pool::refs(uint32_t slot) const {
  return at(slot).refs;
}

uint32_t block_pool::generation(uint32_t slot) const {
  return at(slot).generation;
}

bool block_pool::check() const {
  auto counts = std::array<uint32_t, slot_states>{};
  for (const auto& entry : slots_) {
    ++counts[number(entry.state)];
    if ((entry.state == slot_state::live) != (entry.refs > 0))
      return false;
  }
  if (counts != counts_)
    return false;
  auto listed = std::vector<bool>(slots_.size(), false);
  auto slot = first_free_;
  for (uint32_t i = 0; i < count(slot_state::free); ++i) {
    if (slot >= slots_.size() || listed[slot] || slots_[slot].state != slot_state::free)
      return false;
    if (i + 1 == count(slot_state::free) && slot != last_free_)
      return false;
    listed[slot] = true;
    slot = slots_[slot].next;
  }
  return true;
}

block_pool::entry& block_pool::at(uint32_t slot) {
  assert(slot < slots_.size());
  return slots_[slot];
}

const block_pool::entry& block_pool::at(uint32_t slot) const {
  assert(slot < slots_.size());
  return slots_[slot];
}

void block_pool::change(entry& slot, slot_state to) {
  --counts_[number(slot.state)];
  ++counts_[number(to)];
  slot.state = to;
}

void block_pool::to_free(uint32_t slot) {
  auto& entry = at(slot);
  if (count(slot_state::free) == 0)
    first_free_ = slot;
  else
    slots_[last_free_].next = slot;
  last_free_ = slot;
  entry.refs = 0;
  ++entry.generation;
  change(entry, slot_state::free);
}

} // namespace perigee
