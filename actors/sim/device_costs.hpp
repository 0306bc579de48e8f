// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace perigee::sim {

/// How long a device takes, in whole nanoseconds, so that it is the same everywhere. The shape is that of the profile
/// `a800x8-llama3-70b` (docs/simulation.md): a prefill of n tokens with p reused takes
/// base + token·(n − p) + square·(n² − p²), a decode step of B rows and C context tokens base + row·B + context·C.
struct device_costs {
  uint64_t prefill_base_ns = 48'000;
  uint64_t prefill_token_ns = 110'700;
  uint64_t prefill_square_ps = 725'000; ///< picoseconds per token²
  uint64_t decode_base_ns = 26'300;
  uint64_t decode_row_ns = 100;
  uint64_t decode_context_ps = 34'300; ///< picoseconds per context token
  uint64_t copy_block_ns = 1'000;

  /// A chunk costs the increment of the function over its ends; the constant is paid with the last chunk, which samples.
  uint64_t chunk_ns(uint64_t start, uint64_t tokens, bool last) const noexcept {
    auto end = start + tokens;
    return (last ? prefill_base_ns : 0) + prefill_token_ns * tokens
           + prefill_square_ps * (end * end - start * start) / 1000;
  }

  uint64_t step_ns(uint64_t rows, uint64_t context_tokens) const noexcept {
    return decode_base_ns + decode_row_ns * rows + decode_context_ps * context_tokens / 1000;
  }
};

} // namespace perigee::sim
