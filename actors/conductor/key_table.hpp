// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/conductor/index_memory.hpp"

#include <array>
#include <bit>
#include <cstdint>
#include <vector>

namespace perigee {

/// Finds things that are numbered from 1 by the hash of their key. It knows neither keys nor things: of those whose
/// hash looks the same the caller says which is meant.
///
/// Extendible hashing: the first bits of a hash choose a page of 512 entries by way of a directory. A page that is
/// three quarters full is split in two by the next bit, so that no insertion moves more than one page. Eight entries
/// share a cache line, and what a line has no room for goes to the next: nearly every search looks at one line. An
/// entry takes 8 bytes.
class key_table {
public:
  key_table();

  /// 0 if there is none. `is_meant(number)` is asked about what looks the same.
  template <class IsMeant>
  uint32_t find(uint64_t hash, IsMeant is_meant) const {
    return search(pages_[page_of(hash)].lines, tag_of(hash), is_meant).first;
  }

  /// The same; if there is none, it inserts what `make()` returns, which is a number.
  template <class IsMeant, class Make>
  uint32_t find_or_insert(uint64_t hash, IsMeant is_meant, Make make) {
    auto& at = pages_[page_of(hash)];
    auto [number, free] = search(at.lines, tag_of(hash), is_meant);
    if (number != 0)
      return number;
    number = make();
    if (at.used == used_max) {
      insert(hash, number);
      return number;
    }
    free->put(tag_of(hash), number);
    ++at.used;
    return number;
  }

  /// One that is not there.
  void insert(uint64_t hash, uint32_t number);
  /// One that is there.
  void erase(uint64_t hash, uint32_t number);

  /// Asks for the memory where it stands or would stand.
  void prefetch(uint64_t hash) const noexcept {
    __builtin_prefetch(&pages_[page_of(hash)].lines[tag_of(hash) & line_mask]);
    asm volatile(""); // Without it g++ takes this for a function without effect and drops calls of it.
  }

  size_t bytes() const noexcept {
    return memory_.bytes() + directory_.capacity() * sizeof(uint32_t) + pages_.capacity() * sizeof(page);
  }

private:
  static constexpr uint32_t line_entries = 8;
  static constexpr uint32_t page_lines = 64;
  static constexpr uint32_t line_mask = page_lines - 1;
  static constexpr uint32_t used_max = page_lines * line_entries / 4 * 3;

  /// Entries stand at its front.
  struct line {
    std::array<uint32_t, line_entries> tags;    ///< upper halves of hashes
    std::array<uint32_t, line_entries> numbers; ///< 0: free

    bool is_full() const noexcept {
      return numbers.back() != 0;
    }
    /// One bit for each entry: whether it looks like that.
    uint32_t alike(uint32_t tag) const noexcept {
      auto found = uint32_t{0};
      for (auto i = uint32_t{0}; i < line_entries; ++i)
        found |= uint32_t{tags[i] == tag} << i;
      return found;
    }
    uint32_t used() const noexcept {
      auto count = uint32_t{0};
      for (auto number : numbers)
        count += number != 0;
      return count;
    }
    /// Not into a full one.
    void put(uint32_t tag, uint32_t number) noexcept {
      auto place = used();
      tags[place] = tag;
      numbers[place] = number;
    }
    void remove(uint32_t place) noexcept {
      auto last = used() - 1;
      tags[place] = tags[last];
      numbers[place] = numbers[last];
      tags[last] = numbers[last] = 0;
    }
  };
  static_assert(sizeof(line) == 64);

  struct page {
    line* lines = nullptr;
    uint16_t used = 0;
    uint16_t depth = 0; ///< bits that the hashes of its entries have in common
  };

  static uint32_t tag_of(uint64_t hash) noexcept {
    return static_cast<uint32_t>(hash >> 32);
  }
  uint32_t page_of(uint64_t hash) const noexcept {
    return directory_[hash >> (64 - depth_)];
  }
  /// Its number, or 0 and the line that has room for it.
  template <class IsMeant>
  static std::pair<uint32_t, line*> search(line* lines, uint32_t tag, IsMeant is_meant) {
    for (auto place = tag & line_mask;; place = (place + 1) & line_mask) {
      auto& at = lines[place];
      for (auto rest = at.alike(tag); rest != 0; rest &= rest - 1)
        if (auto number = at.numbers[static_cast<size_t>(std::countr_zero(rest))]; number != 0 && is_meant(number))
          return {number, &at};
      if (!at.is_full())
        return {0, &at};
    }
  }
  uint32_t make_page(uint32_t depth);
  void split(uint64_t hash);
  static void put(page& at, uint32_t tag, uint32_t number) noexcept;

  index_memory memory_;
  line* unused_ = nullptr; // of the piece that was taken last
  uint32_t unused_pages_ = 0;
  std::vector<page> pages_;
  std::vector<uint32_t> directory_; // by the first `depth_` bits of a hash: place in pages_
  uint32_t depth_ = 1;
};

} // namespace perigee
