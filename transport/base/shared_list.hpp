// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace perigee {

/// A list that never changes, so that copies of it, and parts of it, are handles to one memory: for what goes through
/// many hands, such as the tokens of a prompt. Copies may be used by several threads.
template <class T>
class shared_list {
public:
  using value_type = T;
  using const_iterator = const T*;
  using iterator = const_iterator;

  shared_list() = default;
  shared_list(std::vector<T> items) {
    if (items.empty())
      return;
    size_ = items.size();
    auto owner = std::make_shared<const std::vector<T>>(std::move(items));
    const auto* first = owner->data();
    items_ = {std::move(owner), first};
  }
  shared_list(std::initializer_list<T> items) : shared_list(std::vector<T>(items)) {}
  shared_list(const shared_list&) = default;
  /// Leaves an empty one behind.
  shared_list(shared_list&& other) noexcept : items_(std::move(other.items_)), size_(std::exchange(other.size_, 0)) {}
  shared_list& operator=(const shared_list&) = default;
  shared_list& operator=(shared_list&& other) noexcept {
    items_ = std::move(other.items_);
    size_ = std::exchange(other.size_, 0);
    return *this;
  }

  /// Those from `first` on; the memory of all of them stays in use.
  shared_list part(size_t first, size_t count) const {
    assert(first <= size_ && count <= size_ - first);
    auto result = shared_list{};
    if (count == 0)
      return result;
    result.items_ = {items_, items_.get() + first};
    result.size_ = count;
    return result;
  }

  size_t size() const noexcept {
    return size_;
  }
  bool empty() const noexcept {
    return size_ == 0;
  }
  const T* data() const noexcept {
    return items_.get();
  }
  const_iterator begin() const noexcept {
    return data();
  }
  const_iterator end() const noexcept {
    return data() + size_;
  }
  const T& operator[](size_t place) const {
    return data()[place];
  }
  const T& front() const {
    return *data();
  }
  const T& back() const {
    return data()[size_ - 1];
  }

  friend bool operator==(const shared_list& a, const shared_list& b) {
    return (a.data() == b.data() && a.size_ == b.size_) || std::ranges::equal(a, b);
  }
  friend bool operator==(const shared_list& a, const std::vector<T>& b) {
    return std::ranges::equal(a, b);
  }

private:
  std::shared_ptr<const T> items_; // the first of them; owns the memory of all
  size_t size_ = 0;
};

} // namespace perigee
