// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/machine.hpp"

#include <atomic>
#include <memory>

namespace perigee::kernels::cuda {

/// Ways in which a device goes wrong, for tests; may be set from any thread.
struct emulated_faults {
  std::atomic<bool> silent = false; ///< no event is done any more: a context that calls nobody back
  std::atomic<bool> broken = false; ///< every call fails
};

/// The host in place of a GPU: runs the kernels' own sources thread by thread, and everything before the call returns.
/// For tests: thousands of times slower than a GPU. Memory is exactly as large as asked for, so that the address
/// sanitizer sees what a kernel reads or writes beside it.
std::unique_ptr<machine> make_emulated_machine(std::shared_ptr<const emulated_faults> faults = {});

} // namespace perigee::kernels::cuda
