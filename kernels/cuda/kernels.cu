// SPDX-License-Identifier: Apache-2.0
// The kernels for nvcc: each entry only passes its arguments on.
#include "kernels/cuda/attention_kernels.hpp"
#include "kernels/cuda/elementwise_kernels.hpp"
#include "kernels/cuda/kernel_table.hpp"
#include "kernels/cuda/sample_kernel.hpp"

namespace perigee::kernels::cuda {

namespace {

__global__ void embed_entry(const embed_args a) {
  embed(a);
}
__global__ void add_norm_entry(const add_norm_args a) {
  add_norm(a);
}
__global__ void rope_store_entry(const rope_store_args a) {
  rope_store(a);
}
__global__ void swiglu_entry(const swiglu_args a) {
  swiglu(a);
}
__global__ void copy_ranges_entry(const copy_ranges_args a) {
  copy_ranges(a);
}
template <uint32_t HeadMax>
__global__ void __launch_bounds__(rows_warps * 32) attend_rows_entry(const attend_args a) {
  attend_rows<HeadMax>(a);
}
template <uint32_t HeadMax>
__global__ void __launch_bounds__(32) attend_split_entry(const attend_args a) {
  attend_split<HeadMax>(a);
}
__global__ void combine_entry(const attend_args a) {
  combine(a);
}
__global__ void __launch_bounds__(sample_threads) sample_entry(const sample_args a) {
  sample(a);
}

} // namespace

const void* kernel_entry(kernel what) noexcept {
  switch (what) {
  case kernel::embed: return reinterpret_cast<const void*>(embed_entry);
  case kernel::add_norm: return reinterpret_cast<const void*>(add_norm_entry);
  case kernel::rope_store: return reinterpret_cast<const void*>(rope_store_entry);
  case kernel::swiglu: return reinterpret_cast<const void*>(swiglu_entry);
  case kernel::copy_ranges: return reinterpret_cast<const void*>(copy_ranges_entry);
  case kernel::attend_rows_64: return reinterpret_cast<const void*>(attend_rows_entry<64>);
  case kernel::attend_rows_128: return reinterpret_cast<const void*>(attend_rows_entry<128>);
  case kernel::attend_split_64: return reinterpret_cast<const void*>(attend_split_entry<64>);
  case kernel::attend_split_128: return reinterpret_cast<const void*>(attend_split_entry<128>);
  case kernel::combine: return reinterpret_cast<const void*>(combine_entry);
  case kernel::sample: return reinterpret_cast<const void*>(sample_entry);
  case kernel::count: break;
  }
  return nullptr;
}

} // namespace perigee::kernels::cuda
