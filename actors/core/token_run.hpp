// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/base/block_key.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <vector>

namespace perigee {

/// A list of new tokens: nearly always one, so that a few need no memory of their own.
class token_run {
public:
  using value_type = token_id;
  using iterator = token_id*;
  using const_iterator = const token_id*;

  token_run() = default;
  token_run(std::initializer_list<token_id> tokens) {
    for (auto token : tokens)
      push_back(token);
  }
  template <class Iterator>
  token_run(Iterator first, Iterator last) {
    for (; first != last; ++first)
      push_back(*first);
  }

  iterator begin() {
    return many_.empty() ? few_.data() : many_.data();
  }
  iterator end() {
    return begin() + size();
  }
  const_iterator begin() const {
    return many_.empty() ? few_.data() : many_.data();
  }
  const_iterator end() const {
    return begin() + size();
  }

  size_t size() const {
    return many_.empty() ? count_ : many_.size();
  }
  bool empty() const {
    return size() == 0;
  }
  token_id operator[](size_t place) const {
    return begin()[place];
  }
  token_id front() const {
    return *begin();
  }

  void push_back(token_id token) {
    if (many_.empty() && count_ < few_.size()) {
      few_[count_++] = token;
      return;
    }
    if (many_.empty())
      many_.assign(few_.begin(), few_.end());
    many_.push_back(token);
  }

  /// Inserts before `place`; returns where the first one stands now.
  template <class Iterator>
  iterator insert(const_iterator place, Iterator first, Iterator last) {
    auto before = static_cast<size_t>(place - begin());
    auto old = size();
    for (; first != last; ++first)
      push_back(*first);
    std::rotate(begin() + before, begin() + old, end());
    return begin() + before;
  }
  iterator insert(const_iterator place, token_id token) {
    return insert(place, &token, &token + 1);
  }

  void clear() {
    count_ = 0;
    many_.clear();
  }

  /// Shortens it, or adds zeros.
  void resize(size_t size) {
    auto kept = std::vector<token_id>(begin(), end());
    kept.resize(size);
    clear();
    for (auto token : kept)
      push_back(token);
  }

  friend bool operator==(const token_run& a, const token_run& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
  }
  friend bool operator==(const token_run& a, const std::vector<token_id>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
  }

private:
  std::array<token_id, 4> few_{};
  uint32_t count_ = 0;
  std::vector<token_id> many_; // all of them, once there are more
};

} // namespace perigee
