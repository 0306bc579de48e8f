// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/base/status.hpp"

#include <cuda_runtime.h>
#include <fmt/format.h>

namespace perigee::kernels::cuda {

/// Throws `failure` naming the call and what the runtime says: `exhausted` where memory ran out, else `io_error`.
inline void check(cudaError_t code, const char* call) {
  if (code == cudaSuccess)
    return;
  cudaGetLastError(); // an error that is not lasting is not met again by the next call
  throw failure(code == cudaErrorMemoryAllocation ? errc::exhausted : errc::io_error,
                fmt::format("CUDA: {}: {} ({})", call, cudaGetErrorString(code), cudaGetErrorName(code)));
}

} // namespace perigee::kernels::cuda
