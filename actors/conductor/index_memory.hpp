// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <new>
#include <vector>

namespace perigee {

/// Memory of a table that only grows: pieces of one size, zeroed, on cache lines, which never move. They are mapped many at
/// a time and become real page by page. Huge pages are left to the system: who first touches one waits until all of it is
/// zeroed, and a decision must not.
class index_memory {
public:
  static constexpr size_t piece_bytes = size_t{64} << 10;

  index_memory() = default;
  index_memory(const index_memory&) = delete;
  index_memory& operator=(const index_memory&) = delete;
  ~index_memory() {
    for (auto* region : regions_)
      munmap(region, region_bytes);
  }

  /// Throws std::bad_alloc.
  std::byte* take() {
    if (left_ == 0) {
      auto* region = mmap(nullptr, region_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (region == MAP_FAILED)
        throw std::bad_alloc{};
      regions_.push_back(region);
      left_ = region_bytes;
    }
    ++taken_;
    left_ -= piece_bytes;
    return static_cast<std::byte*>(regions_.back()) + left_;
  }

  /// Of the pieces that were taken.
  size_t bytes() const noexcept {
    return taken_ * piece_bytes;
  }

private:
  static constexpr size_t region_bytes = size_t{1} << 20;

  std::vector<void*> regions_;
  size_t left_ = 0; ///< of the last region
  size_t taken_ = 0;
};

} // namespace perigee
