// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/model/model.hpp"
#include "kernels/stream.hpp"

#include <functional>
#include <memory>
#include <optional>

namespace perigee::kernels {

namespace cpu {
class core_share;
}

struct stream_options {
  uint32_t slots = 0;             ///< blocks of the working pool; at least 1
  uint32_t block_tokens = 16;     ///< 1 to 4096
  uint32_t threads = 1;           ///< that compute, the stream's own included; at least 1, more than 255 are not used
  bool reference_kernels = false; ///< the scalar kernels: slow, and the same on every machine
  bool batch_invariant = false;   ///< bf16 too gives a row the same logits in any batch and chunk; slower prefill
  std::shared_ptr<cpu::core_share> cores = {}; ///< shared with other streams, which limit `threads`; null: they are its own
  /// Binds the threads to processors: the stream's own to this one of those that the process may use, helpers to the
  /// following ones, counted round. Nothing: the system places them.
  std::optional<uint32_t> pin_from = {};
  /// Told how much of the weights is packed (`model::pack`), by the first stream that needs them; empty: nobody is.
  std::function<void(double share)> packing = {};
};

/// A stream on the processor. `events` must outlive it; items that have not run when it is destroyed are answered
/// `cancelled`. `cancel` may be called from any thread. Throws `failure` naming the option out of range, std::bad_alloc
/// where the pool does not fit.
std::unique_ptr<stream> make_cpu_stream(std::shared_ptr<const model> weights, const stream_options& options,
                                        stream_events& events);

} // namespace perigee::kernels
