// SPDX-License-Identifier: Apache-2.0
#include "actors/conductor/key_table.hpp"

#include <algorithm>
#include <cassert>

namespace perigee {

key_table::key_table() : directory_(2) {
  make_page(0);
}

uint32_t key_table::make_page(uint32_t depth) {
  constexpr auto page_bytes = page_lines * sizeof(line);
  static_assert(index_memory::piece_bytes % page_bytes == 0);
  if (unused_pages_ == 0) {
    unused_pages_ = index_memory::piece_bytes / page_bytes;
    unused_ = reinterpret_cast<line*>(memory_.take()); // All bytes zero are free entries.
  }
  pages_.push_back({unused_, 0, static_cast<uint16_t>(depth)});
  unused_ += page_lines;
  --unused_pages_;
  return static_cast<uint32_t>(pages_.size() - 1);
}

void key_table::put(page& at, uint32_t tag, uint32_t number) noexcept {
  auto place = tag & line_mask;
  while (at.lines[place].is_full())
    place = (place + 1) & line_mask;
  at.lines[place].put(tag, number);
  ++at.used;
}

void key_table::insert(uint64_t hash, uint32_t number) {
  while (pages_[page_of(hash)].used == used_max)
    split(hash);
  put(pages_[page_of(hash)], tag_of(hash), number);
}

/// Of the page where the hash belongs: those with the next bit set move to a new one.
void key_table::split(uint64_t hash) {
  auto from = page_of(hash);
  auto depth = uint32_t{pages_[from].depth};
  assert(depth < 25 && "hashes that are alike");
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
  auto old = std::array<line, page_lines>{};
  std::copy_n(low.lines, page_lines, old.begin());
  std::fill_n(low.lines, page_lines, line{});
  low.used = 0;
  low.depth = static_cast<uint16_t>(depth + 1);
  for (const auto& moved : old)
    for (auto i = uint32_t{0}; i < line_entries && moved.numbers[i] != 0; ++i)
      put(moved.tags[i] >> (31 - depth) & 1 ? high : low, moved.tags[i], moved.numbers[i]);
}

void key_table::erase(uint64_t hash, uint32_t number) {
  auto& at = pages_[page_of(hash)];
  auto place_in = [&](const line& here) {
    return static_cast<uint32_t>(std::ranges::find(here.numbers, number) - here.numbers.begin());
  };
  auto hole = tag_of(hash) & line_mask;
  while (place_in(at.lines[hole]) == line_entries)
    hole = (hole + 1) & line_mask;
  --at.used;
  auto was_full = at.lines[hole].is_full();
  at.lines[hole].remove(place_in(at.lines[hole]));
  // What went on from a full line and could stand there now moves there, so that no search ends too early.
  for (auto next = (hole + 1) & line_mask; was_full; next = (next + 1) & line_mask) {
    auto& from = at.lines[next];
    was_full = from.is_full();
    for (auto i = uint32_t{0}; i < line_entries && from.numbers[i] != 0; ++i)
      if (((next - from.tags[i]) & line_mask) >= ((next - hole) & line_mask)) {
        at.lines[hole].put(from.tags[i], from.numbers[i]);
        from.remove(i);
        hole = next;
        break;
      }
  }
}

} // namespace perigee
