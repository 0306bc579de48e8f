// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace perigee {

/// The pool of a shard in the same process, which an instance's stream was lent (`kernels::stream::lend`): the instance
/// reads blocks where they lie, under slots that follow those of its own pool.
struct lent_pool {
  uint32_t shard = 0;      ///< its index
  uint32_t slot_first = 0; ///< what the stream calls the shard's slot 0; the instance's own slots are all lower
  uint32_t region = 0;     ///< of this node's fabric
};

} // namespace perigee
