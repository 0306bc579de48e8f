// SPDX-License-Identifier: Apache-2.0
#include "actors/conductor/key_table.hpp"

#include <algorithm>
#include <array>
#include <cassert>

namespace perigee {

key_table::key_table() : directory_(2) {
  make_page(0);
}

uint32_t key_table::make_page(uint32_t depth) {
  if (unused_pages_ == 0) {
    static_assert(index_memory::piece_bytes % (page_entries * sizeof(entry)) == 0);
    unused_pages_ = index_memory::piece_bytes / (page_entries * sizeof(entry));
    unused_ = reinterpret_cast<entry*>(memory_.take()); // All bytes zero are free entries.
  }
  pages_.push_back({unused_, 0, static_cast<uint16_t>(depth)});
  unused_ += page_entries;
  --unused_pages_;
  return static_cast<uint32_t>(pages_.size() - 1);
}

void key_table::put(entry* entries, entry what) noexcept {
  auto i = what.tag & mask;
  while (entries[i].number != 0)
    i = (i + 1) & mask;
  entries[i] = what;
}

void key_table::insert(uint64_t hash, uint32_t number) {
  while (pages_[page_of(hash)].used == used_max)
    split(hash);
  auto& at = pages_[page_of(hash)];
  put(at.entries, {tag_of(hash), number});
  ++at.used;
}

/// Of the page where the hash belongs: those with the next bit set move to a new one.
void key_table::split(uint64_t hash) {
  auto from = page_of(hash);
  auto depth = uint32_t{pages_[from].depth};
  assert(depth < 23 && "hashes that are alike");
  if (depth == depth_) {
    auto twice = std::vector<uint32_t>(directory_.size() * 2);
    for (auto i = size_t{0}; i < twice.size(); ++i)
      twice[i] = directory_[i / 2];
    directory_ = std::move(twice);
    ++depth_;
  }
  auto fresh = make_page(depth + 1);
  auto half = size_t{1} << (depth_ - depth - 1); // of what leads to the page
  auto first = depth == 0 ? size_t{0} : static_cast<size_t>(hash >> (64 - depth)) * half * 2;
  std::fill_n(directory_.begin() + static_cast<ptrdiff_t>(first + half), half, fresh);
  auto& low = pages_[from];
  auto& high = pages_[fresh];
  low.depth = static_cast<uint16_t>(depth + 1);
  auto old = std::array<entry, page_entries>{};
  std::copy_n(low.entries, page_entries, old.begin());
  std::fill_n(low.entries, page_entries, entry{});
  low.used = 0;
  for (auto moved : old)
    if (moved.number != 0) {
      auto& to = moved.tag >> (31 - depth) & 1 ? high : low;
      put(to.entries, moved);
      ++to.used;
    }
}

void key_table::erase(uint64_t hash, uint32_t number) {
  auto& at = pages_[page_of(hash)];
  auto hole = tag_of(hash) & mask;
  while (at.entries[hole].number != number)
    hole = (hole + 1) & mask;
  // What stands behind the hole and could stand in it moves there, so that no search ends too early.
  for (auto i = (hole + 1) & mask; at.entries[i].number != 0; i = (i + 1) & mask) {
    auto home = at.entries[i].tag & mask;
    if (((i - home) & mask) >= ((i - hole) & mask)) {
      at.entries[hole] = at.entries[i];
      hole = i;
    }
  }
  at.entries[hole] = {};
  --at.used;
}

} // namespace perigee
