// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <utility>

namespace perigee::gateway {

/// A bound on bytes that many holders share. Any thread.
class byte_budget {
public:
  explicit byte_budget(size_t bytes_max) : bytes_max_(bytes_max) {}

  size_t used() const noexcept {
    return used_.load(std::memory_order_relaxed);
  }

private:
  friend class byte_lease;

  bool take(size_t bytes) noexcept {
    if (used_.fetch_add(bytes, std::memory_order_relaxed) + bytes <= bytes_max_)
      return true;
    give_back(bytes);
    return false;
  }

  void give_back(size_t bytes) noexcept {
    used_.fetch_sub(bytes, std::memory_order_relaxed);
  }

  size_t bytes_max_;
  std::atomic<size_t> used_{0};
};

/// A growing share of a budget, given back when destroyed. The budget must live longer. One thread at a time.
class byte_lease {
public:
  byte_lease() = default;
  explicit byte_lease(byte_budget& budget) : budget_(&budget) {}
  byte_lease(byte_lease&& other) noexcept
    : budget_(std::exchange(other.budget_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  byte_lease& operator=(byte_lease&& other) noexcept {
    std::swap(budget_, other.budget_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~byte_lease() {
    if (budget_ != nullptr)
      budget_->give_back(bytes_);
  }

  /// False, with nothing changed, where the budget does not have so many more.
  bool grow_to(size_t bytes) noexcept {
    if (bytes <= bytes_ || budget_ == nullptr)
      return true;
    if (!budget_->take(bytes - bytes_))
      return false;
    bytes_ = bytes;
    return true;
  }

private:
  byte_budget* budget_ = nullptr;
  size_t bytes_ = 0;
};

} // namespace perigee::gateway
