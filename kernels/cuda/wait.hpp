// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/machine.hpp"

namespace perigee::kernels::cuda {

/// Returns when what the event recorded is done. Polls, because a broken context wakes nobody: throws `failure`
/// (timed_out) when `deadline_ns` have passed, or (io_error) where the device says no. Blocks the calling thread.
void wait_for(machine& on, machine::event what, uint64_t deadline_ns);

/// Everything submitted to the queue so far.
void wait_for_queue(machine& on, queue where, uint64_t deadline_ns);

} // namespace perigee::kernels::cuda
