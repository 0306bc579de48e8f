// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/base/block_key.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <utility>
#include <vector>

namespace perigee {

/// A list of new tokens: nearly always one, so that a few need no memory of their own, and it is moved as 24 bytes.
class token_run {
public:
  using value_type = token_id;
  using iterator = token_id*;
  using const_iterator = const token_id*;

  token_run() noexcept = default;
  token_run(std::initializer_list<token_id> tokens) : token_run(tokens.begin(), tokens.end()) {}
  template <class Iterator>
  token_run(Iterator first, Iterator last) {
    if (last - first == 1) { // Nearly always.
      held_.few[0] = *first;
      size_ = 1;
      return;
    }
    for (; first != last; ++first)
      push_back(*first);
  }
  token_run(const token_run& other) : token_run(other.begin(), other.end()) {}
  token_run(token_run&& other) noexcept
    : size_(std::exchange(other.size_, 0)), capacity_(std::exchange(other.capacity_, few_max)), held_(other.held_) {}
  token_run& operator=(const token_run& other) {
    return *this = token_run(other);
  }
  token_run& operator=(token_run&& other) noexcept {
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
    std::swap(held_, other.held_);
    return *this;
  }
  ~token_run() {
    if (capacity_ > few_max)
      delete[] held_.many;
  }

  iterator begin() noexcept {
    return capacity_ > few_max ? held_.many : held_.few;
  }
  iterator end() noexcept {
    return begin() + size_;
  }
  const_iterator begin() const noexcept {
    return capacity_ > few_max ? held_.many : held_.few;
  }
  const_iterator end() const noexcept {
    return begin() + size_;
  }

  size_t size() const noexcept {
    return size_;
  }
  bool empty() const noexcept {
    return size_ == 0;
  }
  token_id operator[](size_t place) const {
    return begin()[place];
  }
  token_id front() const {
    return *begin();
  }

  void push_back(token_id token) {
    if (size_ == capacity_)
      grow();
    begin()[size_++] = token;
  }

  /// Inserts before `place`; returns where the first one stands now.
  template <class Iterator>
  iterator insert(const_iterator place, Iterator first, Iterator last) {
    auto before = place - begin();
    auto old = static_cast<std::ptrdiff_t>(size_);
    for (; first != last; ++first)
      push_back(*first);
    std::rotate(begin() + before, begin() + old, end());
    return begin() + before;
  }
  iterator insert(const_iterator place, token_id token) {
    return insert(place, &token, &token + 1);
  }

  void clear() noexcept {
    size_ = 0;
  }

  /// Shortens it, or adds zeros.
  void resize(size_t size) {
    while (size_ < size)
      push_back(0);
    size_ = static_cast<uint32_t>(size);
  }

  friend bool operator==(const token_run& a, const token_run& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
  }
  friend bool operator==(const token_run& a, const std::vector<token_id>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
  }

private:
  static constexpr uint32_t few_max = 4;

  // Not inlined: it is rare, and g++ 12 takes the few for the many where it knows how many there are.
  [[gnu::noinline]] void grow() {
    auto* more = new token_id[size_t{capacity_} * 2];
    std::copy(begin(), end(), more);
    if (capacity_ > few_max)
      delete[] held_.many;
    held_.many = more;
    capacity_ *= 2;
  }

  uint32_t size_ = 0;
  uint32_t capacity_ = few_max; // more: they stand in memory of their own
  union {
    token_id few[few_max];
    token_id* many;
  } held_{};
};

} // namespace perigee
