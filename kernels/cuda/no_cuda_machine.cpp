// SPDX-License-Identifier: Apache-2.0
// In place of cuda_machine.cpp where the toolkit is missing.
#include "kernels/cuda/cuda_machine.hpp"
#include "transport/base/status.hpp"

namespace perigee::kernels::cuda {

std::string why_no_device(uint32_t) {
  return "perigee was built without the CUDA toolkit";
}

std::unique_ptr<machine> make_cuda_machine(uint32_t index) {
  throw failure(errc::unsupported, why_no_device(index));
}

} // namespace perigee::kernels::cuda
