// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace perigee {

/// Numbers from 1 on, given out in ascending order for as long as possible: what is made one after the other gets
/// numbers one after the other, also where it takes the place of what is gone. Once an eighth of all is free, it starts
/// again with the lowest of them.
class free_numbers {
public:
  uint32_t take() {
    if (free_ == 0 || !find_next())
      next_ = end_;
    if (next_ == end_) {
      ++next_;
      return end_++;
    }
    bits_[next_ / 64] &= ~(uint64_t{1} << next_ % 64);
    --free_;
    return next_++;
  }

  void give_back(uint32_t number) {
    if (number / 64 >= bits_.size())
      bits_.resize(end_ / 64 + 1);
    bits_[number / 64] |= uint64_t{1} << number % 64;
    ++free_;
  }

  /// Of one that was given out before.
  bool is_free(uint32_t number) const noexcept {
    return number / 64 < bits_.size() && (bits_[number / 64] >> number % 64 & 1) != 0;
  }

  /// Larger than all that were ever given out.
  uint32_t end() const noexcept {
    return end_;
  }
  size_t bytes() const noexcept {
    return bits_.capacity() * sizeof(uint64_t);
  }

private:
  /// Moves `next_` to a free number. False if there is none behind it, and too few to start again.
  bool find_next() {
    if (scan())
      return true;
    if (free_ < end_ / 8)
      return false;
    next_ = 0;
    return scan();
  }

  bool scan() {
    auto word = size_t{next_ / 64};
    if (word >= bits_.size())
      return false;
    auto here = bits_[word] >> next_ % 64 << next_ % 64;
    while (here == 0 && ++word < bits_.size())
      here = bits_[word];
    if (here == 0)
      return false;
    next_ = static_cast<uint32_t>(word * 64) + static_cast<uint32_t>(std::countr_zero(here));
    return true;
  }

  std::vector<uint64_t> bits_; // set: free
  uint32_t free_ = 0;
  uint32_t next_ = 1;
  uint32_t end_ = 1;
};

} // namespace perigee
