// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/machine.hpp"

#include <cuda_runtime.h>

#include <memory>

namespace perigee::kernels::cuda {

/// Matrix products through cuBLASLt, which is loaded when the first object is made: a program that has this class
/// starts on machines without the library. Used by one thread at a time.
class cublas_lt {
public:
  /// Throws `failure` (not_found) naming the library that cannot be loaded, or (io_error).
  cublas_lt();
  cublas_lt(const cublas_lt&) = delete;
  cublas_lt& operator=(const cublas_lt&) = delete;
  ~cublas_lt();

  /// Starts the product on `stream`. The algorithm for a shape is looked up once.
  void multiply(const gemm_args& args, cudaStream_t stream);

private:
  struct parts;
  std::unique_ptr<parts> parts_;
};

} // namespace perigee::kernels::cuda
