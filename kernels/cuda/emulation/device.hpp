// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/model/dtype.hpp"

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

/// The host's half of kernels/cuda/device.hpp: a block's threads are fibers of one operating-system thread, warp
/// functions meet in exchange slots, background copies happen when they are waited for. Only kernels/cuda/device.hpp
/// includes this.
#define PERIGEE_DEVICE inline
#define PERIGEE_UNROLL

namespace perigee::kernels::cuda {

namespace emulation {

/// Where the running fiber stands in the grid.
struct place {
  uint32_t thread = 0;
  uint32_t threads = 0;
  uint32_t block[3] = {};
  void* shared = nullptr;
};
const place& here() noexcept;

void barrier();
/// Gives every lane the words that lane `from` brought. All lanes of the warp must come; at most 32 bytes.
void exchange(const void* mine, void* of_all, size_t bytes);
void copy_later(void* to, const void* from, bool valid);
void end_copy_group();
void finish_copies(size_t groups_left);

} // namespace emulation

inline uint32_t thread() {
  return emulation::here().thread;
}
inline uint32_t threads() {
  return emulation::here().threads;
}
inline uint32_t block_x() {
  return emulation::here().block[0];
}
inline uint32_t block_y() {
  return emulation::here().block[1];
}
inline uint32_t block_z() {
  return emulation::here().block[2];
}
inline void* shared_memory() {
  return emulation::here().shared;
}
inline void sync_block() {
  emulation::barrier();
}

template <class T>
T shuffle_xor(T value, uint32_t mask) {
  T all[32];
  emulation::exchange(&value, all, sizeof value);
  return all[thread() % 32 ^ mask];
}

inline void atomic_add(uint64_t* at, uint64_t value) {
  *at += value; // fibers change over only where they wait
}
inline float exponential(float x) {
  return std::exp(x);
}
inline float exponential2(float x) {
  return std::exp2(x);
}
inline float inverse_root(float x) {
  return 1 / std::sqrt(x);
}
inline uint32_t bits_of(float x) {
  return std::bit_cast<uint32_t>(x);
}
inline float float_of(uint32_t bits) {
  return std::bit_cast<float>(bits);
}
inline uint16_t to_bf16(float x) {
  return f32_to_bf16(x);
}

inline void copy16_async(void* to, const void* from, bool valid) {
  emulation::copy_later(to, from, valid);
}
inline void copy_commit() {
  emulation::end_copy_group();
}
template <int Left>
void copy_wait() {
  emulation::finish_copies(Left);
}

inline void load_matrices_transposed(uint32_t (&out)[4], const void* row) {
  const void* rows[32];
  emulation::exchange(&row, rows, sizeof row);
  auto lane = thread() % 32;
  for (auto m = 0u; m < 4; ++m) {
    uint16_t pair[2];
    for (auto i = 0u; i < 2; ++i)
      std::memcpy(&pair[i], static_cast<const std::byte*>(rows[m * 8 + lane % 4 * 2 + i]) + lane / 4 * 2, 2);
    out[m] = pair[0] | uint32_t{pair[1]} << 16;
  }
}

inline void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  struct fragments {
    uint32_t a[4];
    uint32_t b[2];
  };
  auto mine = fragments{{a[0], a[1], a[2], a[3]}, {b0, b1}};
  fragments all[32];
  emulation::exchange(&mine, all, sizeof mine);
  auto lane = thread() % 32;
  auto half = [](uint32_t word, uint32_t which) {
    return std::bit_cast<float>(which == 0 ? word << 16 : word & 0xffff0000u);
  };
  for (auto i = 0u; i < 4; ++i) {
    auto row = lane / 4 + i / 2 * 8;
    auto column = lane % 4 * 2 + i % 2;
    for (auto k = 0u; k < 16; ++k) {
      auto in_a = all[row % 8 * 4 + k % 8 / 2].a[row / 8 + k / 8 * 2];
      auto in_b = all[column * 4 + k % 8 / 2].b[k / 8];
      c[i] += half(in_a, k % 2) * half(in_b, k % 2);
    }
  }
}

} // namespace perigee::kernels::cuda
