// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cuda_machine.hpp"
#include "tests/kernels/cuda/support.hpp"

namespace perigee::kernels::cuda::test {

machine* device_under_test() {
  static const auto why = why_no_device();
  if (!why.empty()) {
    testing::skip(why);
    return nullptr;
  }
  static auto device = make_cuda_machine();
  return device.get();
}

} // namespace perigee::kernels::cuda::test
