// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/perigee/command.hpp"

namespace perigee::cli {

/// Declares `perigee bench handover`.
void add_bench_handover(CLI::App& bench, action& chosen);

} // namespace perigee::cli
