// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/machine.hpp"
#include "kernels/model/dtype.hpp"
#include "kernels/sampler.hpp"
#include "tests/support/testing.hpp"

#include <cmath>
#include <functional>
#include <span>
#include <vector>

namespace perigee::kernels::cuda::test {

/// The machine that these tests run on: the emulated one, or a GPU in the program that is meant for it. Made on first
/// use; null where no device answers (the test is marked as skipped).
machine* device_under_test();

/// Numbers that are the same for a seed wherever the test runs.
class numbers {
public:
  explicit numbers(uint64_t seed) : seed_(seed) {}

  uint32_t below(uint32_t limit) {
    return static_cast<uint32_t>(random_word(seed_, 1, ++count_) % limit);
  }
  uint32_t between(uint32_t low, uint32_t high) {
    return low + below(high - low + 1);
  }
  /// Roughly normal, with deviation 1.
  float normal() {
    auto sum = 0.0f;
    for (auto i = 0; i < 4; ++i)
      sum += static_cast<float>(below(1 << 20)) / (1 << 20) - 0.5f;
    return sum * 1.7320508f;
  }
  std::vector<float> floats(size_t count, float deviation = 1) {
    auto result = std::vector<float>(count);
    for (auto& x : result)
      x = normal() * deviation;
    return result;
  }
  std::vector<uint16_t> halves(size_t count, float deviation = 1) {
    auto result = std::vector<uint16_t>(count);
    for (auto& x : result)
      x = f32_to_bf16(normal() * deviation);
    return result;
  }

private:
  uint64_t seed_;
  uint32_t count_ = 0;
};

/// Everything submitted so far is done.
inline void finish(machine& on, queue where = queue::compute) {
  auto end = on.make_event();
  on.record(where, end);
  while (!on.done(end)) {
  }
}

/// Device memory with a copy of `values`.
template <class T>
device_array<T> on_device(machine& on, const std::vector<T>& values) {
  auto memory = device_array<T>{on, values.size()};
  on.upload(queue::compute, memory.data(), values.data(), values.size() * sizeof(T));
  finish(on);
  return memory;
}

/// What device memory holds once everything on the compute queue is done.
template <class T>
std::vector<T> on_host(machine& on, const device_array<T>& memory) {
  finish(on);
  auto values = std::vector<T>(memory.size());
  on.download(queue::compute, values.data(), memory.data(), values.size() * sizeof(T));
  finish(on);
  return values;
}

inline std::vector<float> widened(const std::vector<uint16_t>& values) {
  auto result = std::vector<float>(values.size());
  for (auto i = size_t{0}; i < values.size(); ++i)
    result[i] = bf16_to_f32(values[i]);
  return result;
}

/// Largest |a - b| / (1 + |b|); not a number where one of them is none.
inline double distance(std::span<const float> a, std::span<const float> b) {
  REQUIRE(a.size() == b.size());
  auto largest = 0.0;
  for (auto i = size_t{0}; i < a.size(); ++i) {
    auto d = std::abs(static_cast<double>(a[i]) - b[i]) / (1 + std::abs(static_cast<double>(b[i])));
    if (std::isnan(d))
      return d;
    largest = d > largest ? d : largest;
  }
  return largest;
}

/// One rounding to bf16, and a little.
inline constexpr auto bf16_step = 1.0 / 128;

} // namespace perigee::kernels::cuda::test
