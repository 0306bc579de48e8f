// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/perigee/command.hpp"

namespace perigee::cli {

/// Declares `perigee bench sim`.
void add_bench_sim(CLI::App& bench, action& chosen);

} // namespace perigee::cli
