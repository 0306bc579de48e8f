// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cpu/ops.hpp"
#include "tests/kernels/support.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

/// What the tests of the kernels' functions draw their input from.
namespace perigee::kernels::test {

class random_numbers {
public:
  explicit random_numbers(uint64_t seed) : engine_(seed) {}

  uint32_t from(uint32_t low, uint32_t high) {
    return low + static_cast<uint32_t>(engine_() % (high - low + 1));
  }
  std::vector<float> floats(size_t count, float scale = 1) {
    auto result = std::vector<float>(count);
    for (auto& x : result)
      x = scale * (static_cast<float>(engine_() % 20001) / 10000 - 1);
    return result;
  }
  /// Numbers as a type stores them.
  std::vector<std::byte> stored(dtype type, size_t count) {
    auto result = std::vector<std::byte>(count * size_of(type));
    auto values = floats(count);
    for (auto i = size_t{0}; i < count; ++i) {
      auto half = type == dtype::bf16 ? f32_to_bf16(values[i]) : f32_to_f16(values[i]);
      if (type == dtype::f32)
        std::memcpy(result.data() + 4 * i, &values[i], 4);
      else
        std::memcpy(result.data() + 2 * i, &half, 2);
    }
    return result;
  }

private:
  std::mt19937_64 engine_;
};

/// Every instruction set that this processor has, but the reference.
inline std::vector<const cpu::ops*> fast_sets() {
  auto result = std::vector<const cpu::ops*>{};
  for (auto set : {cpu::instruction_set::avx2, cpu::instruction_set::avx512, cpu::instruction_set::avx512_bf16})
    if (set <= cpu::best_instruction_set())
      result.push_back(&cpu::ops_for(set));
  return result;
}

inline constexpr auto all_types = {dtype::f32, dtype::f16, dtype::bf16};

} // namespace perigee::kernels::test
