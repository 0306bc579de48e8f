// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

/// The little that the kernels use of a GPU, once for nvcc and once for the host (kernels/cuda/emulation), so that the
/// same kernel sources run in unit tests on any machine. Thread blocks have one dimension, a multiple of 32 threads;
/// all shared memory is dynamic. Warp functions must be reached by all 32 lanes.
/// Sources: CUDA C++ Programming Guide 13 (execution model), PTX ISA 9.0 (layouts of mma and ldmatrix fragments).
#ifdef __CUDACC__

#include <cuda_bf16.h>

#define PERIGEE_DEVICE __device__ __forceinline__
#define PERIGEE_UNROLL _Pragma("unroll")

namespace perigee::kernels::cuda {

PERIGEE_DEVICE uint32_t thread() {
  return threadIdx.x;
}
PERIGEE_DEVICE uint32_t threads() {
  return blockDim.x;
}
PERIGEE_DEVICE uint32_t block_x() {
  return blockIdx.x;
}
PERIGEE_DEVICE uint32_t block_y() {
  return blockIdx.y;
}
PERIGEE_DEVICE uint32_t block_z() {
  return blockIdx.z;
}
/// The block's shared memory, aligned to 16 bytes.
PERIGEE_DEVICE void* shared_memory() {
  extern __shared__ __align__(16) unsigned char perigee_shared[];
  return perigee_shared;
}
PERIGEE_DEVICE void sync_block() {
  __syncthreads();
}
PERIGEE_DEVICE float shuffle_xor(float value, uint32_t mask) {
  return __shfl_xor_sync(0xffffffffu, value, static_cast<int>(mask));
}
PERIGEE_DEVICE uint64_t shuffle_xor(uint64_t value, uint32_t mask) {
  return __shfl_xor_sync(0xffffffffu, static_cast<unsigned long long>(value), static_cast<int>(mask));
}
PERIGEE_DEVICE void atomic_add(uint64_t* at, uint64_t value) {
  atomicAdd(reinterpret_cast<unsigned long long*>(at), static_cast<unsigned long long>(value));
}
PERIGEE_DEVICE float exponential(float x) {
  return expf(x);
}
PERIGEE_DEVICE float exponential2(float x) {
  return exp2f(x);
}
PERIGEE_DEVICE float inverse_root(float x) {
  return rsqrtf(x);
}
PERIGEE_DEVICE uint32_t bits_of(float x) {
  return __float_as_uint(x);
}
PERIGEE_DEVICE float float_of(uint32_t bits) {
  return __uint_as_float(bits);
}
PERIGEE_DEVICE uint16_t to_bf16(float x) {
  return __bfloat16_as_ushort(__float2bfloat16_rn(x));
}

/// Copies 16 bytes from global to shared memory in the background, or writes zeros where not `valid`. Both addresses
/// are aligned to 16 bytes and `from` is readable in either case.
PERIGEE_DEVICE void copy16_async(void* to, const void* from, bool valid) {
  auto address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
  auto bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(address), "l"(from), "r"(bytes) : "memory");
}
/// Ends a group of background copies.
PERIGEE_DEVICE void copy_commit() {
  asm volatile("cp.async.commit_group;\n" ::: "memory");
}
/// Waits until at most the `Left` latest groups of this thread are under way.
template <int Left>
PERIGEE_DEVICE void copy_wait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(Left) : "memory");
}

/// ldmatrix.x4.trans: four 8x8 matrices of 16-bit elements; lane i names row i % 8 of matrix i / 8 (16 bytes in shared
/// memory). Register m holds elements (row 2 (lane % 4) and the next, column lane / 4) of matrix m.
PERIGEE_DEVICE void load_matrices_transposed(uint32_t (&out)[4], const void* row) {
  auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(address)
               : "memory");
}

/// c[16, 8] += a[16, 16] × b[16, 8] in bf16 with f32 sums (mma.m16n8k16), in the fragments that PTX documents.
PERIGEE_DEVICE void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
               "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

} // namespace perigee::kernels::cuda

#else
#include "kernels/cuda/emulation/device.hpp"
#endif

namespace perigee::kernels::cuda {

PERIGEE_DEVICE float lowest_float() {
  return float_of(0xff800000u);
}
PERIGEE_DEVICE uint32_t lane() {
  return thread() % 32;
}
PERIGEE_DEVICE uint32_t warp() {
  return thread() / 32;
}
PERIGEE_DEVICE float from_bf16(uint32_t bits) {
  return float_of(bits << 16);
}
/// `low` in the lower half, as the first of two neighbours in memory.
PERIGEE_DEVICE uint32_t pack_bf16(float low, float high) {
  return to_bf16(low) | static_cast<uint32_t>(to_bf16(high)) << 16;
}

/// 16 bytes that are loaded and stored at once.
struct alignas(16) vector16 {
  uint32_t words[4];
};

template <class T>
PERIGEE_DEVICE T smaller(T a, T b) {
  return a < b ? a : b;
}
template <class T>
PERIGEE_DEVICE T larger(T a, T b) {
  return a < b ? b : a;
}

PERIGEE_DEVICE float warp_sum(float value) {
  for (auto mask = 16u; mask > 0; mask /= 2)
    value += shuffle_xor(value, mask);
  return value;
}

/// Sum over the block, in every thread. `scratch` holds one number a warp; all threads call it.
PERIGEE_DEVICE float block_sum(float value, float* scratch) {
  value = warp_sum(value);
  sync_block(); // an earlier use of the scratch is over
  if (lane() == 0)
    scratch[warp()] = value;
  sync_block();
  auto total = 0.0f;
  for (auto i = 0u; i < threads() / 32; ++i)
    total += scratch[i];
  return total;
}

} // namespace perigee::kernels::cuda
