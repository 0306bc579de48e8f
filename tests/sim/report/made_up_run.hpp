// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/sim/report/run_record.hpp"

namespace perigee::sim {

struct made_up_options {
  uint64_t seed = 1;
  uint64_t requests = 1000;
  uint32_t prefill = 4;
  uint32_t decode = 4;
  uint64_t token_ns = 200'000;           ///< of prefill: larger means slower
  uint64_t wait_max_ns = 30'000'000'000; ///< longer waits are rejected; 0: none
};

/// A run that nobody simulated: drawn conversations through plain queues, with all that reports can show.
run_record made_up_run(const made_up_options& options);

} // namespace perigee::sim
