// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/core_share.hpp"

#include <sched.h>

namespace perigee::kernels::cpu {

std::vector<uint32_t> allowed_processors() {
  auto found = std::vector<uint32_t>{};
  auto set = cpu_set_t{};
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    for (auto i = 0u; i < CPU_SETSIZE; ++i)
      if (CPU_ISSET(i, &set))
        found.push_back(i);
  return found;
}

bool pin_this_thread(uint32_t processor) noexcept {
  auto set = cpu_set_t{};
  if (processor >= CPU_SETSIZE)
    return false;
  CPU_SET(processor, &set);
  return sched_setaffinity(0, sizeof set, &set) == 0;
}

} // namespace perigee::kernels::cpu
