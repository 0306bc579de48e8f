// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/wait.hpp"

#include "transport/base/status.hpp"

#include <fmt/format.h>

#include <chrono>
#include <thread>

namespace perigee::kernels::cuda {

void wait_for(machine& on, machine::event what, uint64_t deadline_ns) {
  using namespace std::chrono;
  constexpr auto spin = microseconds{200}; // a decode step's end is worth a core for so long
  auto begin = steady_clock::now();
  while (!on.done(what)) {
    auto waited = steady_clock::now() - begin;
    if (waited > nanoseconds{deadline_ns})
      throw failure(errc::timed_out,
                    fmt::format("{}: no answer after {:.1f} s; allowed: {:.1f} s", on.name(),
                                duration<double>{waited}.count(), static_cast<double>(deadline_ns) / 1e9));
    if (waited < spin)
      std::this_thread::yield();
    else
      std::this_thread::sleep_for(microseconds{20});
  }
}

void wait_for_queue(machine& on, queue where, uint64_t deadline_ns) {
  auto end = on.make_event();
  on.record(where, end);
  wait_for(on, end, deadline_ns);
}

} // namespace perigee::kernels::cuda
