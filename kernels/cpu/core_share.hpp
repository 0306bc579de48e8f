// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

namespace perigee::kernels::cpu {

/// The cores of a process, divided among the streams that compute at the moment: one that is alone gets them all, and
/// none gets less than one. Streams ask again for every parallel loop, so that what one leaves the others take at once.
/// May be used by several threads.
class core_share {
public:
  explicit core_share(uint32_t cores) : cores_(cores) {}

  /// Cores that each computing stream may use now; at least 1.
  uint32_t each() const noexcept {
    return std::max(1u, cores_ / std::max(1u, computing_.load(std::memory_order_relaxed)));
  }

  /// While it lives a stream computes. Of no share: does nothing.
  class turn {
  public:
    explicit turn(core_share* share) : share_(share) {
      if (share_ != nullptr)
        share_->computing_.fetch_add(1, std::memory_order_relaxed);
    }
    ~turn() {
      if (share_ != nullptr)
        share_->computing_.fetch_sub(1, std::memory_order_relaxed);
    }
    turn(const turn&) = delete;
    turn& operator=(const turn&) = delete;

  private:
    core_share* share_;
  };

private:
  const uint32_t cores_;
  std::atomic<uint32_t> computing_ = 0;
};

/// The processors that this thread may run on, in ascending order; empty where the system does not say.
std::vector<uint32_t> allowed_processors();
/// Binds this thread to one processor. False where the system refuses: it is only a wish.
bool pin_this_thread(uint32_t processor) noexcept;

} // namespace perigee::kernels::cpu
