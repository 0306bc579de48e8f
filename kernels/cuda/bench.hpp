// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/machine.hpp"
#include "kernels/model/config.hpp"

#include <string>
#include <vector>

namespace perigee::kernels::cuda {

/// One line of the benchmark: what was measured, beside the ceiling measured in the same run.
struct figure {
  std::string what;   ///< such as "prefill attention, 8192 tokens"
  double seconds = 0; ///< median
  double rate = 0;
  std::string unit; ///< of the rate: "FLOP/s", "B/s" or "tokens/s"
  double ratio = 0; ///< of the ceiling; 0 where it is one itself
  std::string ceiling;
};

struct device_bench_options {
  model_config shape;
  uint32_t repetitions = 5;
  std::vector<uint32_t> prompts = {128, 512, 2048, 8192};
  std::vector<uint32_t> batches = {1, 8, 32, 128, 256};
  std::vector<uint32_t> contexts = {1024, 32768};
  uint32_t gemm_size = 8192;
  uint64_t copy_bytes = uint64_t{1} << 30;
};

/// Shapes by name: "8b" and "1b" as Llama 3's, "tiny" for a try-out. Throws `failure` (invalid_argument).
model_config shape_by_name(const std::string& name);

/// Measures the device (copies, matrix products), each attention kernel, whole prefills and decode steps with random
/// weights. What does not fit the device's memory or the shape's context is left out. Blocks; throws `failure`.
std::vector<figure> bench_device(machine& on, const device_bench_options& options);

} // namespace perigee::kernels::cuda
