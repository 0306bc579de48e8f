// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/args.hpp"

namespace perigee::kernels::cuda {

/// The function to start on the device, for the CUDA runtime; it takes the kernel's args by value. Null for `count`.
const void* kernel_entry(kernel what) noexcept;

} // namespace perigee::kernels::cuda
