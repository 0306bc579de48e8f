// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cassert>
#include <cstdint>
#include <memory>
#include <thread>

namespace perigee::kernels::cpu {

/// Pieces of a loop, of which each thread takes its own run from the front to the end, so that memory that lies in the
/// order of the pieces streams into its caches, and then half of what another has left, so that nobody waits for one
/// that was disturbed. Used within one `thread_pool::run` over as many tasks as pieces, each of which takes one.
class piece_share {
public:
  explicit piece_share(uint32_t threads) : threads_(threads), runs_(std::make_unique<run[]>(threads)) {}

  /// Pieces [0, pieces), while nobody takes any.
  void deal(uint32_t pieces) noexcept {
    for (auto thread = uint32_t{0}; thread < threads_; ++thread)
      put(thread, static_cast<uint32_t>(uint64_t{pieces} * thread / threads_),
          static_cast<uint32_t>(uint64_t{pieces} * (thread + 1) / threads_));
  }

  /// The next piece for this thread; there must be one that nobody has taken.
  uint32_t take(uint32_t thread) noexcept {
    assert(thread < threads_);
    for (;;) {
      auto& own = runs_[thread].left;
      for (auto now = own.load(std::memory_order_relaxed); !empty(now);)
        if (own.compare_exchange_weak(now, now + 1, std::memory_order_relaxed))
          return static_cast<uint32_t>(now);
      auto found = false;
      for (auto other = thread + 1; other < thread + threads_ && !found; ++other)
        found = take_half(thread, other % threads_);
      // A run on its way from one thread to another stands with neither for a moment.
      if (!found)
        std::this_thread::yield();
    }
  }

private:
  /// The next piece in the low half, one past the last in the high half.
  struct alignas(64) run {
    std::atomic<uint64_t> left = 0;
  };

  static bool empty(uint64_t run) noexcept {
    return static_cast<uint32_t>(run) >= run >> 32;
  }
  void put(uint32_t thread, uint64_t next, uint64_t end) noexcept {
    runs_[thread].left.store(end << 32 | next, std::memory_order_relaxed);
  }

  bool take_half(uint32_t thread, uint32_t other) noexcept {
    auto& from = runs_[other].left;
    for (auto now = from.load(std::memory_order_relaxed); !empty(now);) {
      auto next = static_cast<uint32_t>(now);
      auto end = static_cast<uint32_t>(now >> 32);
      auto middle = next + (end - next) / 2;
      if (from.compare_exchange_weak(now, uint64_t{middle} << 32 | next, std::memory_order_relaxed)) {
        put(thread, middle, end); // nobody else changes a run that is empty
        return true;
      }
    }
    return false;
  }

  const uint32_t threads_;
  const std::unique_ptr<run[]> runs_;
};

} // namespace perigee::kernels::cpu
