// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/perigee/command.hpp"

namespace perigee::cli {

/// Declares `perigee bench route`.
void add_bench_route(CLI::App& bench, action& chosen);

} // namespace perigee::cli
