// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/machine.hpp"
#include "kernels/model/model.hpp"
#include "kernels/stream.hpp"

#include <memory>

namespace perigee::kernels {

struct cuda_stream_options {
  uint32_t slots = 0;                    ///< blocks of the working pool; at least 1
  uint32_t block_tokens = 16;            ///< a power of two, 16 to 4096
  uint32_t rows_max = 8192;              ///< rows that go through the model at once; longer prefills go in pieces
  uint32_t batch_max = 256;              ///< the same for decode steps and samples
  uint64_t deadline_ns = 30'000'000'000; ///< for the device's next answer; then it counts as broken
};

/// A stream on a device with memory of its own (cuda::make_cuda_machine). The pool lies there; `pool()` is a pinned
/// copy of it on the host, for the fabric:
/// - What a prefill writes is in the copy before its `layer_done`, copied blocks and those that a decode step fills
/// before
///   their `work_done`. Blocks that decoding has not filled are brought up to date by calling `pool()` when all items
///   are answered.
/// - What the caller writes to the copy is used by items submitted after `written` named its slots.
/// A thread of the stream's own waits for the device. Where it fails, or does not answer by the deadline, the item is
/// answered `io_error` or `timed_out`, and so is every later one: the instance is over.
/// `events` must outlive the stream; items that have not run when it is destroyed are answered `cancelled`. `cancel`
/// may be called from any thread. Throws `failure` naming the option out of range or what the device lacks.
std::unique_ptr<stream> make_cuda_stream(std::shared_ptr<const model> weights, const cuda_stream_options& options,
                                         stream_events& events, std::unique_ptr<cuda::machine> device);

} // namespace perigee::kernels
