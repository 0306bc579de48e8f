// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/model/config.hpp"
#include "kernels/stream.hpp"

namespace perigee::kernels::cpu {

/// What bounds the items of one stream.
struct work_limits {
  uint32_t slots = 0; ///< of its pool
  uint32_t block_tokens = 0;
  uint32_t vocab = 0;
  uint32_t context = 0;
  uint32_t layers = 0; ///< of the model
  uint32_t lent = 0;   ///< slots that follow those of its pool and may be read only
};

/// Ok, or `invalid_argument` that names the field, the value found and the value allowed.
status check(const prefill_work& work, const work_limits& limits);
status check(const decode_work& work, const work_limits& limits);
status check(const copy_work& work, const work_limits& limits);

} // namespace perigee::kernels::cpu
