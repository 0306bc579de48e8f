// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/thread_pool.hpp"

#include <algorithm>

namespace perigee::kernels::cpu {

namespace {

// Some 20 to 100 µs, by processor: longer than most of what one thread does alone between two loops of a forward pass,
// and about what going to sleep and waking up cost.
constexpr auto spins = 2000;

void pause() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

/// Returns once `value` is not `old`.
uint32_t await_change(std::atomic<uint32_t>& value, uint32_t old) noexcept {
  for (auto i = 0; i < spins; ++i) {
    if (auto now = value.load(std::memory_order_acquire); now != old)
      return now;
    pause();
  }
  value.wait(old, std::memory_order_acquire);
  return value.load(std::memory_order_acquire);
}

constexpr auto open_bit = uint32_t{1} << 8;
constexpr auto active_mask = open_bit - 1;
constexpr auto one_round = open_bit << 1;

} // namespace

thread_pool::thread_pool(uint32_t threads, const core_share* cores, std::vector<uint32_t> processors) : cores_(cores) {
  for (auto i = uint32_t{1}; i < std::min(threads, active_mask); ++i)
    helpers_.emplace_back([this, i, at = processors.empty() ? -1 : int64_t{processors[i % processors.size()]}] {
      if (at >= 0)
        pin_this_thread(static_cast<uint32_t>(at));
      help(i);
    });
}

thread_pool::~thread_pool() {
  stop_.store(true, std::memory_order_release);
  state_.fetch_add(one_round, std::memory_order_release);
  state_.notify_all();
  for (auto& helper : helpers_)
    helper.join();
}

void thread_pool::run_shared(uint32_t tasks, call body, void* context) {
  body_ = body;
  context_ = context;
  tasks_ = tasks;
  next_.store(0, std::memory_order_relaxed);
  auto done = done_.load(std::memory_order_relaxed);
  state_.fetch_add(one_round + open_bit, std::memory_order_release);
  state_.notify_all();
  work(0);
  // Closed: no helper joins from here on, so that the last of those at work is the one that reports.
  if ((state_.fetch_sub(open_bit, std::memory_order_acq_rel) & active_mask) != 0)
    await_change(done_, done);
}

void thread_pool::work(uint32_t thread) {
  for (auto task = next_.fetch_add(1, std::memory_order_relaxed); task < tasks_;
       task = next_.fetch_add(1, std::memory_order_relaxed))
    body_(context_, task, thread);
}

void thread_pool::help(uint32_t thread) {
  auto state = uint32_t{0};
  auto joined = uint32_t{0}; // the loop this helper has been in
  while (!stop_.load(std::memory_order_acquire)) {
    if ((state & open_bit) == 0 || state / one_round == joined) {
      state = await_change(state_, state);
      continue;
    }
    if (thread > wanted_.load(std::memory_order_relaxed)) {
      joined = state / one_round; // passes this loop by
      continue;
    }
    if (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel, std::memory_order_acquire))
      continue;
    joined = state / one_round;
    work(thread);
    auto before = state_.fetch_sub(1, std::memory_order_acq_rel);
    if ((before & active_mask) == 1 && (before & open_bit) == 0) {
      done_.fetch_add(1, std::memory_order_release);
      done_.notify_one();
    }
    state = before - 1;
  }
}

} // namespace perigee::kernels::cpu
