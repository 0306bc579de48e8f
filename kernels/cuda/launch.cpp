// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/launch.hpp"

#include "kernels/cuda/attention_kernels.hpp"
#include "kernels/cuda/sample_kernel.hpp"

#include <algorithm>
#include <cassert>

namespace perigee::kernels::cuda {

namespace {

constexpr auto row_threads = 256u;

uint32_t pieces(uint64_t of, uint64_t size) {
  return static_cast<uint32_t>((of + size - 1) / size);
}

template <class Args>
void start(machine& on, queue where, kernel what, const launch_shape& shape, const Args& args) {
  if (shape.grid[0] == 0 || shape.grid[1] == 0 || shape.grid[2] == 0)
    return;
  on.launch(where, what, shape, &args, sizeof args);
}

} // namespace

void embed(machine& on, const embed_args& args, uint32_t rows) {
  start(on, queue::compute, kernel::embed, {{rows, 1, 1}, row_threads, 0}, args);
}

void add_norm(machine& on, const add_norm_args& args, uint32_t rows) {
  start(on, queue::compute, kernel::add_norm, {{rows, 1, 1}, row_threads, row_threads / 32 * 4}, args);
}

void rope_store(machine& on, const rope_store_args& args, uint32_t rows) {
  start(on, queue::compute, kernel::rope_store, {{rows, 1, 1}, row_threads, 0}, args);
}

void swiglu(machine& on, const swiglu_args& args, uint32_t rows) {
  start(on, queue::compute, kernel::swiglu, {{rows, pieces(args.ffn, row_threads * 8), 1}, row_threads, 0}, args);
}

void copy_ranges(machine& on, queue where, const copy_ranges_args& args, uint32_t ranges) {
  assert(args.bytes % 16 == 0);
  start(on, where, kernel::copy_ranges, {{ranges, pieces(args.bytes / 16, copy_piece_vectors), 1}, row_threads, 0},
        args);
}

void attend_rows(machine& on, attend_args args, uint32_t sequences, uint32_t rows_max) {
  auto head_max = args.head_dim <= 64 ? 64u : 128u;
  args.splits = 1;
  args.unit_tiles = pieces(rows_max * (args.heads / args.kv_heads), rows_warps * warp_units);
  start(on, queue::compute, head_max == 64 ? kernel::attend_rows_64 : kernel::attend_rows_128,
        {{args.unit_tiles, args.kv_heads, sequences}, rows_warps * 32, attention_shared_bytes(head_max)}, args);
}

void attend_split(machine& on, const attend_args& args, uint32_t sequences, uint32_t rows_max) {
  auto head_max = args.head_dim <= 64 ? 64u : 128u;
  auto tiles = pieces(rows_max * (args.heads / args.kv_heads), warp_units);
  start(on, queue::compute, head_max == 64 ? kernel::attend_split_64 : kernel::attend_split_128,
        {{tiles * args.splits, args.kv_heads, sequences}, 32, attention_shared_bytes(head_max)}, args);
  start(on, queue::compute, kernel::combine, {{rows_max * args.heads, 1, sequences}, head_max, 0}, args);
}

void sample(machine& on, const sample_args& args, uint32_t samples) {
  start(on, queue::compute, kernel::sample, {{samples, 1, 1}, sample_threads, sizeof(sample_shared)}, args);
}

} // namespace perigee::kernels::cuda
