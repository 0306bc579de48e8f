// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace perigee::kernels::cuda::emulation {

/// Runs `body` once for every thread of a grid of blocks: block after block, the threads of a block as fibers that
/// change over where they wait for each other. Odd blocks run their threads in reverse, so that a missing barrier shows
/// as a difference. `threads` is a multiple of 32, at most 1,024; `shared_bytes` of shared memory begin as 0xff.
/// Throws `failure` (corrupt) where threads wait for one another in vain: a barrier or warp function that not all of
/// them reach. One grid at a time and per operating-system thread.
void run_grid(const uint32_t (&grid)[3], uint32_t threads, size_t shared_bytes, const std::function<void()>& body);

} // namespace perigee::kernels::cuda::emulation
