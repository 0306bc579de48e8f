// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/emulation/emulated_machine.hpp"
#include "tests/kernels/cuda/support.hpp"

namespace perigee::kernels::cuda::test {

machine* device_under_test() {
  static auto device = make_emulated_machine();
  return device.get();
}

} // namespace perigee::kernels::cuda::test
