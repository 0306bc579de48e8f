// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/model/model.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace perigee::kernels {

/// What the machine can do at best, measured with the same number of threads.
struct machine_limits {
  double read_bytes_per_second = 0; ///< of memory: a buffer of at least four times the last-level cache, median of 5
  uint64_t read_buffer_bytes = 0;
  double bf16_flops_per_second = 0; ///< oneDNN's best shape, median of 5; 0 where the processor has no bf16
  double f32_flops_per_second = 0;
};

/// Decoding of `batch` sequences at once.
struct decode_figure {
  uint32_t batch = 0;
  uint32_t context = 0;         ///< tokens in each sequence, in the middle of the measurement
  double tokens_per_second = 0; ///< of all sequences together; median
  double bytes_per_second = 0;  ///< weights and KV that the steps had to read, over the time they took
  double read_ratio = 0;        ///< `bytes_per_second` / `machine_limits::read_bytes_per_second`
  double gemm_ratio = 0;        ///< rate of the matrix products to the limit for the type
  uint64_t allocations = 0;     ///< of memory during the measured steps, where they are counted
};

/// Prefill of one prompt.
struct prefill_figure {
  uint32_t tokens = 0;
  uint32_t reused = 0;          ///< of these, whose KV was there already
  double tokens_per_second = 0; ///< median; of those that were computed
  double flops_per_second = 0;  ///< of the matrix products that were computed, attention not counted
  double gemm_ratio = 0; ///< to the limit of bf16 where the weights are bf16 and the processor has it, else of f32
};

/// One prefill and one decode stream of the same weights at the same time, each with all the threads of the others.
struct together_figure {
  double prefill = 1; ///< times that a chunk of a prompt takes while the other decodes, over what it takes alone
  double step = 1;    ///< times that a decode step takes while the other prefills
};

struct bench_options {
  uint32_t threads = 1;
  uint32_t repetitions = 5;
  std::vector<uint32_t> batches = {1, 4, 8, 16};
  std::vector<uint32_t> prompts = {128, 512, 2048}; ///< those that do not fit the model's context are left out
  std::vector<uint32_t> suffixes = {64};  ///< each prompt is measured again with all but so many tokens cached; 0: not
  std::vector<uint32_t> contexts = {128}; ///< tokens in each sequence when decoding begins
  uint32_t decode_steps = 16;             ///< of one repetition
  uint64_t pool_bytes_max = uint64_t{8} << 30; ///< what needs more KV is left out
  std::function<uint64_t()> allocations;       ///< counter of this thread's allocations; empty: not counted
  bool batch_invariant = false;
  bool together = false; ///< measure `bench_result::together`
};

struct bench_result {
  uint32_t threads = 0;
  std::string instruction_set;
  std::string weight_type;
  uint64_t weight_bytes = 0; ///< that every decode step reads
  uint64_t kv_token_bytes = 0;
  machine_limits limits;
  std::vector<decode_figure> decode;
  std::vector<prefill_figure> prefill;
  together_figure together; ///< ones where it was not asked for
};

/// Coefficients of a cost model, in seconds: a prefill of n tokens with p reused takes constant + token·(n − p) +
/// square·(n² − p²) + reused·p, a decode step of B rows and C context tokens in all constant + row·B + context_token·C.
struct bench_profile {
  double prefill_constant = 0;
  double prefill_token = 0;
  double prefill_square = 0;
  double prefill_reused = 0;
  double step_constant = 0;
  double step_row = 0;
  double step_context_token = 0;
  double kv_bytes_token = 0;
};

/// The profile that fits the figures best (least squares of relative errors, no coefficient below 0). What the figures
/// do not tell apart is 0: three prompts and two contexts are the least for a useful one.
bench_profile fit_profile(const bench_result& result);

/// Measures the machine: about two seconds on two cores.
machine_limits measure_limits(uint32_t threads);

/// Measures the machine and the engine side by side. Medians over the repetitions, after one that does not count.
/// Throws `failure` (invalid_argument) where nothing fits the model's context.
bench_result bench_engine(std::shared_ptr<const model> weights, const bench_options& options);

} // namespace perigee::kernels
