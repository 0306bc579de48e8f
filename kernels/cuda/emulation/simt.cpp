// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/emulation/simt.hpp"

#include "kernels/cuda/emulation/device.hpp"
#include "kernels/cuda/emulation/fiber.hpp"
#include "transport/base/status.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <memory>
#include <vector>

namespace perigee::kernels::cuda::emulation {

namespace {

struct pending_copy {
  void* to;
  const void* from;
  bool valid;
};

/// Lanes of one warp meet here. Two sets of slots: a lane that is quick enough to come again writes to the other set,
/// and none can come a third time before all have read.
struct meeting {
  alignas(16) std::byte slots[2][32][32];
  uint32_t arrived = 0;
  uint32_t round = 0;
};

struct thread_state {
  place at;
  std::vector<std::vector<pending_copy>> groups; ///< ended ones, then the open one
  bool finished = false;
};

class block_run {
public:
  block_run(uint32_t threads, size_t shared_bytes, const std::function<void()>& body)
    : body_(body), shared_((shared_bytes + 15) / 16 * 16), states_(threads), warps_(threads / 32) {
    for (auto i = uint32_t{0}; i < threads; ++i)
      fibers_.push_back(std::make_unique<fiber>([this] { thread_main(); }));
  }

  void run(const uint32_t (&block)[3], bool reverse) {
    reverse_ = reverse;
    finished_ = arrived_ = idle_ = 0;
    broken_ = false;
    std::fill(shared_.begin(), shared_.end(), std::byte{0xff});
    for (auto i = uint32_t{0}; i < states_.size(); ++i) {
      auto& state = states_[i];
      state.at = {i, static_cast<uint32_t>(states_.size()), {block[0], block[1], block[2]}, shared_.data()};
      state.groups.assign(1, {});
      state.finished = false;
    }
    for (auto& warp : warps_)
      warp.arrived = 0;
    current_ = reverse_ ? static_cast<uint32_t>(states_.size()) - 1 : 0;
    outside_.change_to(*fibers_[current_]);
    if (broken_)
      throw failure(
        errc::corrupt,
        fmt::format("emulated block {},{},{}: {} of {} threads ended, {} wait at a barrier, and none can go "
                    "on; every thread must reach each barrier and warp function",
                    block[0], block[1], block[2], finished_, states_.size(), arrived_));
  }

  thread_state& now() {
    return states_[current_];
  }

  void barrier() {
    auto round = round_;
    if (++arrived_ == states_.size()) {
      arrived_ = 0;
      ++round_;
      idle_ = 0;
      return;
    }
    while (round_ == round)
      give_way();
  }

  void exchange(const void* mine, void* of_all, size_t bytes) {
    auto& warp = warps_[current_ / 32];
    auto round = warp.round;
    auto& slots = warp.slots[round % 2];
    assert(bytes <= sizeof slots[0]);
    std::memcpy(slots[current_ % 32], mine, bytes);
    if (++warp.arrived == 32) {
      warp.arrived = 0;
      ++warp.round;
      idle_ = 0;
    } else {
      while (warp.round == round)
        give_way();
    }
    for (auto i = size_t{0}; i < 32; ++i)
      std::memcpy(static_cast<std::byte*>(of_all) + i * bytes, slots[i], bytes);
  }

private:
  /// Thrown through a fiber whose block is given up.
  struct given_up {};

  void thread_main() {
    for (;;) {
      try {
        if (!broken_)
          body_();
      } catch (const given_up&) {
      }
      now().finished = true;
      ++finished_;
      idle_ = 0;
      if (finished_ == states_.size())
        fibers_[current_]->change_to(outside_);
      else
        switch_to(next());
    }
  }

  uint32_t next() const {
    auto count = static_cast<uint32_t>(states_.size());
    auto at = current_;
    do
      at = reverse_ ? (at + count - 1) % count : (at + 1) % count;
    while (states_[at].finished);
    return at;
  }

  void switch_to(uint32_t to) {
    auto& from = *fibers_[current_];
    current_ = to;
    from.change_to(*fibers_[to]);
  }

  void give_way() {
    if (++idle_ > 2 * states_.size()) // everybody looked twice and nothing had changed
      broken_ = true;
    if (broken_)
      throw given_up{};
    auto to = next();
    if (to != current_)
      switch_to(to);
    if (broken_)
      throw given_up{};
  }

  const std::function<void()>& body_;
  std::vector<std::byte> shared_; // malloc aligns to 16
  std::vector<thread_state> states_;
  std::vector<meeting> warps_;
  std::vector<std::unique_ptr<fiber>> fibers_;
  fiber outside_;
  bool reverse_ = false;
  bool broken_ = false;
  uint32_t current_ = 0;
  uint32_t finished_ = 0;
  uint32_t arrived_ = 0;
  uint32_t round_ = 0;
  size_t idle_ = 0;
};

thread_local block_run* running = nullptr;

} // namespace

const place& here() noexcept {
  return running->now().at;
}

void barrier() {
  running->barrier();
}

void exchange(const void* mine, void* of_all, size_t bytes) {
  running->exchange(mine, of_all, bytes);
}

void copy_later(void* to, const void* from, bool valid) {
  assert(reinterpret_cast<uintptr_t>(to) % 16 == 0 && reinterpret_cast<uintptr_t>(from) % 16 == 0);
  running->now().groups.back().push_back({to, from, valid});
}

void end_copy_group() {
  running->now().groups.emplace_back();
}

void finish_copies(size_t groups_left) {
  auto& groups = running->now().groups;
  while (groups.size() > groups_left + 1) { // the last is still open
    for (const auto& copy : groups.front())
      if (copy.valid)
        std::memcpy(copy.to, copy.from, 16);
      else
        std::memset(copy.to, 0, 16);
    groups.erase(groups.begin());
  }
}

void run_grid(const uint32_t (&grid)[3], uint32_t threads, size_t shared_bytes, const std::function<void()>& body) {
  if (threads == 0 || threads % 32 != 0 || threads > 1024)
    throw failure(errc::invalid_argument,
                  fmt::format("emulated block: {} threads; allowed: multiples of 32 up to 1024", threads));
  auto block = block_run{threads, shared_bytes, body};
  running = &block;
  struct reset {
    ~reset() {
      running = nullptr;
    }
  } at_end;
  for (auto z = uint32_t{0}; z < grid[2]; ++z)
    for (auto y = uint32_t{0}; y < grid[1]; ++y)
      for (auto x = uint32_t{0}; x < grid[0]; ++x)
        block.run({x, y, z}, (x + y + z) % 2 == 1);
}

} // namespace perigee::kernels::cuda::emulation
