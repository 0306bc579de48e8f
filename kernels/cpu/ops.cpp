// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/ops.hpp"

namespace perigee::kernels::cpu {

#ifdef PERIGEE_X86_64

instruction_set best_instruction_set() noexcept {
  auto avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  auto avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
                && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx512 && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni"))
    return instruction_set::avx512_bf16;
  return avx512 ? instruction_set::avx512 : avx2 ? instruction_set::avx2 : instruction_set::scalar;
}

const ops& ops_for(instruction_set set) noexcept {
  switch (set) {
  case instruction_set::avx512_bf16: return avx512_bf16_ops;
  case instruction_set::avx512: return avx512_ops;
  case instruction_set::avx2: return avx2_ops;
  case instruction_set::scalar: break;
  }
  return scalar_ops;
}

#else

instruction_set best_instruction_set() noexcept {
  return instruction_set::scalar;
}

const ops& ops_for(instruction_set) noexcept {
  return scalar_ops;
}

#endif

} // namespace perigee::kernels::cpu
