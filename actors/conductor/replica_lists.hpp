// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace perigee {

/// Sorted lists of numbers in few large arrays: a list of n numbers takes n rounded up to a power of two, at least
/// four. The length is kept by the owner and passed back in.
class replica_lists {
public:
  /// Makes a list of `numbers`, ascending, and returns its id.
  uint32_t make(std::span<const uint32_t> numbers) {
    auto length = static_cast<uint32_t>(numbers.size());
    auto id = take(class_of(length));
    std::copy(numbers.begin(), numbers.end(), at(id, length));
    return id;
  }

  void drop(uint32_t id, uint32_t length) {
    classes_[class_of(length)].free.push_back(id);
  }

  std::span<const uint32_t> read(uint32_t id, uint32_t length) const {
    auto kind = class_of(length);
    return {classes_[kind].numbers.data() + (size_t{id} << (kind + 2)), length};
  }

  /// Inserts a number that is not there; returns the list's id from now on.
  uint32_t insert(uint32_t id, uint32_t length, uint32_t number) {
    auto to = resized(id, length, length + 1);
    auto* first = at(to, length + 1);
    auto* place = std::lower_bound(first, first + length, number);
    std::copy_backward(place, first + length, first + length + 1);
    *place = number;
    return to;
  }

  /// Takes out a number that is there; returns the list's id from now on.
  uint32_t erase(uint32_t id, uint32_t length, uint32_t number) {
    auto* first = at(id, length);
    auto* place = std::lower_bound(first, first + length, number);
    assert(place != first + length && *place == number);
    std::copy(place + 1, first + length, place);
    return resized(id, length, length - 1);
  }

  size_t bytes() const noexcept {
    auto total = size_t{0};
    for (const auto& at : classes_)
      total += (at.numbers.capacity() + at.free.capacity()) * sizeof(uint32_t);
    return total;
  }

private:
  struct size_class {
    std::vector<uint32_t> numbers;
    std::vector<uint32_t> free;
  };

  static size_t class_of(uint32_t length) {
    return length <= 4 ? 0 : static_cast<size_t>(std::bit_width(length - 1)) - 2;
  }

  uint32_t* at(uint32_t id, uint32_t length) {
    auto kind = class_of(length);
    return classes_[kind].numbers.data() + (size_t{id} << (kind + 2));
  }

  uint32_t take(size_t kind) {
    auto& from = classes_[kind];
    if (!from.free.empty()) {
      auto id = from.free.back();
      from.free.pop_back();
      return id;
    }
    auto id = static_cast<uint32_t>(from.numbers.size() >> (kind + 2));
    if (auto more = from.numbers.size() + (size_t{4} << kind); more > from.numbers.capacity())
      from.numbers.reserve(more + more / 16); // Doubling would leave half of a large array unused.
    from.numbers.resize(from.numbers.size() + (size_t{4} << kind));
    return id;
  }

  /// Moves a list to the class of its new length, if that is another one.
  uint32_t resized(uint32_t id, uint32_t length, uint32_t length_new) {
    if (class_of(length) == class_of(length_new))
      return id;
    auto to = take(class_of(length_new));
    auto from = read(id, length);
    std::copy(from.begin(), from.begin() + std::min(length, length_new), at(to, length_new));
    drop(id, length);
    return to;
  }

  std::array<size_class, 30> classes_;
};

/// A set of numbers below 2^31 in 8 bytes: one or two stand in it, more in a list.
class replica_set {
public:
  bool empty() const noexcept {
    return first_ == nobody;
  }

  /// Ascending; valid until the set or the lists change.
  std::span<const uint32_t> read(const replica_lists& lists) const {
    if (empty())
      return {};
    if (first_ & is_list)
      return lists.read(second_, first_ & ~is_list);
    return {&first_, second_ == nobody ? size_t{1} : size_t{2}};
  }

  bool contains(uint32_t number, const replica_lists& lists) const {
    auto held = read(lists);
    return std::binary_search(held.begin(), held.end(), number);
  }

  /// False if it was there.
  bool add(uint32_t number, replica_lists& lists) {
    assert(number < is_list);
    if (empty()) {
      first_ = number;
      return true;
    }
    if (first_ & is_list) {
      if (contains(number, lists))
        return false;
      second_ = lists.insert(second_, first_ & ~is_list, number);
      ++first_;
      return true;
    }
    if (first_ == number || second_ == number)
      return false;
    if (second_ == nobody) {
      second_ = std::max(first_, number);
      first_ = std::min(first_, number);
      return true;
    }
    auto three = std::array{first_, second_, number};
    std::sort(three.begin(), three.end());
    first_ = is_list | 3;
    second_ = lists.make(three);
    return true;
  }

  /// False if it was not there.
  bool remove(uint32_t number, replica_lists& lists) {
    if (first_ == number) {
      first_ = std::exchange(second_, nobody);
      return true;
    }
    if (!(first_ & is_list)) {
      auto was_there = second_ == number;
      second_ = was_there ? nobody : second_;
      return was_there;
    }
    if (empty() || !contains(number, lists))
      return false;
    auto length = first_ & ~is_list;
    second_ = lists.erase(second_, length, number);
    --first_;
    if (--length > 2)
      return true;
    auto rest = lists.read(second_, length);
    auto [low, high] = std::pair{rest[0], rest[1]};
    lists.drop(second_, length);
    first_ = low;
    second_ = high;
    return true;
  }

private:
  static constexpr uint32_t nobody = UINT32_MAX;
  static constexpr uint32_t is_list = uint32_t{1} << 31;

  /// `nobody` in an empty set; with its top bit set its other bits count the numbers in list `second_`; otherwise the
  /// lowest number, and `second_` is the other one, or `nobody`.
  uint32_t first_ = nobody;
  uint32_t second_ = nobody;
};

} // namespace perigee
