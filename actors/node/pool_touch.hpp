// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <thread>
#include <vector>

namespace perigee::actors {

/// Has the system take the pages of pools on a thread of low priority, so that the first requests need not wait for
/// them: blocks are used in turn, and on a virtual machine a page that was never touched costs more than the KV in it.
/// What the pools hold stays as it is, and they may be used meanwhile.
class pool_touch {
public:
  /// Begins, pool by pool. Not more than `bytes_max` in all: the system promises more memory than it has.
  pool_touch(std::vector<std::span<std::byte>> pools, uint64_t bytes_max);
  /// Stops; from then on the pools may go.
  ~pool_touch();

  pool_touch(const pool_touch&) = delete;
  pool_touch& operator=(const pool_touch&) = delete;

  /// Until all is done.
  void wait();

private:
  void run(const std::vector<std::span<std::byte>>& pools, uint64_t bytes_max);

  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

/// Half of the memory that could be had now without taking it from somebody else; 0 where the system does not tell.
uint64_t memory_to_touch_max();

} // namespace perigee::actors
