// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/conductor/index_memory.hpp"

#include <cstdint>
#include <vector>

namespace perigee {

/// Finds things that are numbered from 1 by the hash of their key. It knows neither keys nor things: of those whose
/// hash looks the same the caller says which is meant.
///
/// Extendible hashing: the first bits of a hash choose a page of 512 entries by way of a directory. A page that is
/// three quarters full is split in two by the next bit, so that no insertion moves more than one page. An entry takes 8
/// bytes.
class key_table {
public:
  key_table();

  /// 0 if there is none. `is_meant(number)` is asked about what looks the same.
  template <class IsMeant>
  uint32_t find(uint64_t hash, IsMeant is_meant) const {
    const auto* entries = pages_[page_of(hash)].entries;
    auto tag = tag_of(hash);
    for (auto i = tag & mask; entries[i].number != 0; i = (i + 1) & mask)
      if (entries[i].tag == tag && is_meant(entries[i].number))
        return entries[i].number;
    return 0;
  }

  /// One that is not there.
  void insert(uint64_t hash, uint32_t number);
  /// One that is there.
  void erase(uint64_t hash, uint32_t number);

  /// Asks for the memory where it stands or would stand.
  void prefetch(uint64_t hash) const noexcept {
    __builtin_prefetch(&pages_[page_of(hash)].entries[tag_of(hash) & mask]);
  }

  size_t bytes() const noexcept {
    return memory_.bytes() + directory_.capacity() * sizeof(uint32_t) + pages_.capacity() * sizeof(page);
  }

private:
  static constexpr uint32_t page_entries = 512;
  static constexpr uint32_t used_max = page_entries / 4 * 3;
  static constexpr uint32_t mask = page_entries - 1;

  struct entry {
    uint32_t tag = 0;    ///< upper half of the hash
    uint32_t number = 0; ///< 0: free
  };
  struct page {
    entry* entries = nullptr;
    uint16_t used = 0;
    uint16_t depth = 0; ///< bits that the hashes of its entries have in common
  };

  static uint32_t tag_of(uint64_t hash) noexcept {
    return static_cast<uint32_t>(hash >> 32);
  }
  uint32_t page_of(uint64_t hash) const noexcept {
    return directory_[hash >> (64 - depth_)];
  }
  uint32_t make_page(uint32_t depth);
  void split(uint64_t hash);
  static void put(entry* entries, entry what) noexcept;

  index_memory memory_;
  entry* unused_ = nullptr; // of the piece that was taken last
  uint32_t unused_pages_ = 0;
  std::vector<page> pages_;
  std::vector<uint32_t> directory_; // by the first `depth_` bits of a hash: place in pages_
  uint32_t depth_ = 1;
};

} // namespace perigee
