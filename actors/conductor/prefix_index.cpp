// SPDX-License-Identifier: Apache-2.0
#include "actors/conductor/prefix_index.hpp"

#include <cassert>
#include <memory>

namespace perigee {

namespace {

constexpr auto ahead = size_t{16}; // keys whose memory is asked for when one has to be searched

} // namespace

size_t prefix_index::bytes() const noexcept {
  return table_.bytes() + memory_.bytes() + pieces_.capacity() * sizeof(node*) + numbers_.bytes()
         + left_.capacity() * sizeof(uint32_t) + stored_lists_.bytes() + expected_lists_.bytes()
         + counts_.capacity() * sizeof(uint64_t);
}

uint32_t prefix_index::make(const block_key& key) {
  auto number = numbers_.take();
  if (number / piece_nodes == pieces_.size())
    pieces_.push_back(reinterpret_cast<node*>(memory_.take()));
  std::construct_at(&at(number), node{key, {}, {}});
  return number;
}

/// Nobody has it any more. Takes the place of one that was left long ago, which is dropped unless somebody has it
/// again.
void prefix_index::leave(uint32_t number) {
  if (left_.size() < left_max) {
    left_.push_back(number);
    return;
  }
  auto old = std::exchange(left_[left_next_], number);
  left_next_ = (left_next_ + 1) % left_max;
  auto& gone = at(old);
  if (numbers_.is_free(old) || !gone.stored.empty() || !gone.expected.empty())
    return;
  table_.erase(hash(gone.key), old);
  gone.key = no_key;
  numbers_.give_back(old);
}

void prefix_index::store_at(uint32_t number, uint32_t shard) {
  auto& stored = at(number).stored;
  auto is_first = stored.empty();
  if (!stored.add(shard, stored_lists_))
    return;
  if (shard >= counts_.size())
    counts_.resize(shard + size_t{1});
  blocks_ += is_first;
  ++counts_[shard];
  ++version_;
}

void prefix_index::evict_at(uint32_t number, uint32_t shard) {
  auto& known = at(number);
  if (!known.stored.remove(shard, stored_lists_))
    return;
  --counts_[shard];
  ++version_;
  if (!known.stored.empty())
    return;
  --blocks_;
  if (known.expected.empty())
    leave(number);
}

void prefix_index::store(const block_key& key, uint32_t shard) {
  store_at(search_or_make(key), shard);
}

void prefix_index::evict(const block_key& key, uint32_t shard) {
  if (auto number = search(key))
    evict_at(number, shard);
}

/// Who has to be searched is rarely alone: asks for the memory of those that come next, from `asked` on.
void prefix_index::prefetch_from(std::span<const index_event> events, size_t place, size_t& asked) const noexcept {
  if (end() > near_blocks)
    for (asked = std::max(asked, place); asked < std::min(place + ahead, events.size()); ++asked)
      table_.prefetch(hash(events[asked].key));
}

void prefix_index::apply(std::span<const index_event> events, uint32_t shard) {
  auto number = uint32_t{0};
  auto asked = size_t{0};
  for (auto place = size_t{0}; place < events.size(); ++place) {
    const auto& event = events[place];
    if (follows(number, event.key)) {
      ++number;
    } else {
      prefetch_from(events, place, asked);
      number = event.stored ? search_or_make(event.key) : search(event.key);
    }
    if (event.stored)
      store_at(number, shard);
    else if (number != 0)
      evict_at(number, shard);
  }
}

void prefix_index::expect(std::span<const block_key> keys, uint32_t prefill) {
  auto number = uint32_t{0};
  for (const auto& key : keys) {
    number = follows(number, key) ? number + 1 : search_or_make(key);
    at(number).expected.add(prefill, expected_lists_);
  }
}

void prefix_index::forget(std::span<const block_key> keys, uint32_t prefill) {
  auto number = uint32_t{0};
  for (const auto& key : keys) {
    number = next_of(number, key);
    if (number == 0)
      continue;
    auto& it = at(number);
    if (it.expected.remove(prefill, expected_lists_) && it.expected.empty() && it.stored.empty())
      leave(number);
  }
}

void prefix_index::drop_shard(uint32_t shard) {
  if (blocks_of(shard) == 0)
    return;
  for (auto number = uint32_t{1}; number < end(); ++number)
    if (!numbers_.is_free(number))
      evict_at(number, shard);
}

std::span<const uint32_t> prefix_index::find(const block_key& key) const {
  auto number = search(key);
  return number != 0 ? known_of(number).stored : std::span<const uint32_t>{};
}

bool prefix_index::holds(const block_key& key, uint32_t shard) const {
  auto number = search(key);
  return number != 0 && at(number).stored.contains(shard, stored_lists_);
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
