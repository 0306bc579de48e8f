// SPDX-License-Identifier: Apache-2.0
#include "actors/node/pool_touch.hpp"

#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <utility>

namespace perigee::actors {

namespace {

constexpr auto lowest_priority = 19;
constexpr auto step_bytes = uint64_t{2} << 20; // between two looks at whether to stop: a huge page

/// Page by page where a processor can write a byte's own value into it, undivided, whoever writes it meanwhile: then no
/// call holds the lock of the process's memory while pages are cleared, for which whoever takes or returns memory would
/// wait. False on an older system, or without memory left: pages come when they are used.
bool take_pages(std::span<std::byte> memory) {
#if defined(__x86_64__)
  auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  for (auto at = size_t{0}; at < memory.size(); at += page)
    asm volatile("lock orb $0, %0" : "+m"(memory[at]));
  return true;
#else
  return madvise(memory.data(), memory.size(), MADV_POPULATE_WRITE) == 0;
#endif
}

/// The whole pages within.
std::span<std::byte> whole_pages(std::span<std::byte> memory) {
  auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  auto skip = (page - reinterpret_cast<uintptr_t>(memory.data()) % page) % page;
  if (memory.size() < skip + page)
    return {};
  auto rest = memory.subspan(skip);
  return rest.first(rest.size() / page * page);
}

} // namespace

pool_touch::pool_touch(std::vector<std::span<std::byte>> pools, uint64_t bytes_max)
  : thread_([this, pools = std::move(pools), bytes_max] { run(pools, bytes_max); }) {}

pool_touch::~pool_touch() {
  stop_ = true;
  wait();
}

void pool_touch::wait() {
  if (thread_.joinable())
    thread_.join();
}

void pool_touch::run(const std::vector<std::span<std::byte>>& pools, uint64_t bytes_max) {
  auto none = sched_param{};
  sched_setscheduler(0, SCHED_OTHER, &none); // this thread alone, on Linux, and the line below too
  setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), lowest_priority);
  for (auto pool : pools)
    for (auto left = whole_pages(pool); !left.empty();) {
      auto step = std::min<uint64_t>(left.size(), step_bytes);
      if (stop_ || step > bytes_max)
        return;
      if (!take_pages(left.first(step)))
        return;
      bytes_max -= step;
      left = left.subspan(step);
    }
}

uint64_t memory_to_touch_max() {
  auto file = std::ifstream{"/proc/meminfo"};
  auto name = std::string{};
  auto kib = uint64_t{0};
  for (auto unit = std::string{}; file >> name >> kib && std::getline(file, unit);)
    if (name == "MemAvailable:")
      return kib * 1024 / 2;
  return 0;
}

} // namespace perigee::actors
