// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/machine.hpp"

namespace perigee::kernels::cuda {

/// Starts a kernel with the blocks, threads and shared memory that it wants. Where a count is zero nothing is started.
/// All on the compute queue but `copy_ranges`.
void embed(machine& on, const embed_args& args, uint32_t rows);
void add_norm(machine& on, const add_norm_args& args, uint32_t rows);
void rope_store(machine& on, const rope_store_args& args, uint32_t rows);
void swiglu(machine& on, const swiglu_args& args, uint32_t rows);
void copy_ranges(machine& on, queue where, const copy_ranges_args& args, uint32_t ranges);
/// Sequences of at most `rows_max` rows each; for many rows of each sequence.
void attend_rows(machine& on, attend_args args, uint32_t sequences, uint32_t rows_max);
/// The same for few rows of long sequences: cut into `args.splits` splits, then put together.
void attend_split(machine& on, const attend_args& args, uint32_t sequences, uint32_t rows_max);
void sample(machine& on, const sample_args& args, uint32_t samples);

} // namespace perigee::kernels::cuda
