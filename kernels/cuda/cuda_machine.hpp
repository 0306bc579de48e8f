// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/machine.hpp"

#include <memory>

namespace perigee::kernels::cuda {

/// Why no machine can be made here, or an empty text: no toolkit in this build, no driver, no such device, one older
/// than compute capability 8.0, or no cuBLASLt. Never throws.
std::string why_no_device(uint32_t index = 0);

/// An NVIDIA GPU, by the runtime's number. Its context is made current to the calling thread and to any thread that
/// calls the machine. Throws `failure` (unsupported) with the reason of `why_no_device`, or (io_error).
std::unique_ptr<machine> make_cuda_machine(uint32_t index = 0);

} // namespace perigee::kernels::cuda
