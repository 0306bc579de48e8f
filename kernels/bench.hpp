// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/model/model.hpp"

#include <cstdint>
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
  double tokens_per_second = 0; ///< of all sequences together; median
  double bytes_per_second = 0;  ///< weights and KV that the steps had to read, over the time they took
  double read_ratio = 0;        ///< `bytes_per_second` / `machine_limits::read_bytes_per_second`
};

/// Prefill of one prompt from an empty cache.
struct prefill_figure {
  uint32_t tokens = 0;
  double tokens_per_second = 0; ///< median
  double flops_per_second = 0;  ///< of the matrix products that were computed, attention not counted
  double gemm_ratio = 0; ///< to the limit of bf16 where the weights are bf16 and the processor has it, else of f32
};

struct bench_options {
  uint32_t threads = 1;
  uint32_t repetitions = 5;
  std::vector<uint32_t> batches = {1, 4, 8, 16};
  std::vector<uint32_t> prompts = {128, 512, 2048}; ///< those that do not fit the model's context are left out
  uint32_t decode_context = 128;                    ///< tokens in each sequence when decoding begins
  uint32_t decode_steps = 16;                       ///< of one repetition
  bool batch_invariant = false;
};

struct bench_result {
  uint32_t threads = 0;
  std::string instruction_set;
  std::string weight_type;
  uint64_t weight_bytes = 0; ///< that every decode step reads
  machine_limits limits;
  std::vector<decode_figure> decode;
  std::vector<prefill_figure> prefill;
};

/// Measures the machine: about two seconds on two cores.
machine_limits measure_limits(uint32_t threads);

/// Measures the machine and the engine side by side. Medians over the repetitions, after one that does not count.
/// Throws `failure` (invalid_argument) where nothing fits the model's context.
bench_result bench_engine(std::shared_ptr<const model> weights, const bench_options& options);

} // namespace perigee::kernels
