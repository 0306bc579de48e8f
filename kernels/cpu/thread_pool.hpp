// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cpu/core_share.hpp"

#include <atomic>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace perigee::kernels::cpu {

/// Helpers for one thread that runs parallel loops. Between loops a helper looks out for work for some 50 µs and
/// then sleeps in the kernel, so that idle streams cost nothing and streams with more threads than cores do not
/// collapse. `run` may be called by one thread at a time.
class thread_pool {
public:
  /// `threads` counts the caller: `threads` - 1 helpers are started. More than 255 are not used. No more of them work
  /// at once than `cores` says, which must outlive the pool; null: all. Helper i is bound to the i-th of `processors`,
  /// counted round, and the caller should be to the first (`pin_this_thread`); empty: none is.
  explicit thread_pool(uint32_t threads, const core_share* cores = nullptr, std::vector<uint32_t> processors = {});
  ~thread_pool();
  thread_pool(const thread_pool&) = delete;
  thread_pool& operator=(const thread_pool&) = delete;

  uint32_t threads() const noexcept {
    return static_cast<uint32_t>(helpers_.size()) + 1;
  }

  /// Calls `body(task, thread)` for every task in [0, tasks), each once, on any of the threads (`thread` <
  /// `threads()`), and returns when all are done. `body` must not throw.
  template <class Body>
  void run(uint32_t tasks, Body&& body) {
    auto most = cores_ != nullptr ? std::min(cores_->each(), threads()) : threads();
    if (tasks <= 1 || most <= 1) {
      for (auto task = uint32_t{0}; task < tasks; ++task)
        body(task, uint32_t{0});
      return;
    }
    using plain = std::remove_reference_t<Body>;
    wanted_.store(most - 1, std::memory_order_relaxed);
    run_shared(
      tasks, [](void* context, uint32_t task, uint32_t thread) { (*static_cast<plain*>(context))(task, thread); },
      const_cast<std::remove_const_t<plain>*>(&body));
  }

private:
  using call = void (*)(void*, uint32_t, uint32_t);

  void run_shared(uint32_t tasks, call body, void* context);
  void help(uint32_t thread);
  void work(uint32_t thread);

  const core_share* cores_;
  std::vector<std::thread> helpers_;
  call body_ = nullptr;
  void* context_ = nullptr;
  uint32_t tasks_ = 0;
  /// Bits 31-9: number of the loop, bit 8: it is open to helpers, bits 7-0: helpers at work in it. A helper that wakes
  /// up late finds the loop closed and sleeps on; nobody waits for it.
  alignas(64) std::atomic<uint32_t> state_ = 0;
  std::atomic<uint32_t> wanted_ = 0;           ///< helpers that may work in the loop: the first ones
  alignas(64) std::atomic<uint32_t> next_ = 0; ///< the next task nobody has taken
  alignas(64) std::atomic<uint32_t> done_ = 0; ///< counts closed loops that a helper left last
  std::atomic<bool> stop_ = false;
};

} // namespace perigee::kernels::cpu
