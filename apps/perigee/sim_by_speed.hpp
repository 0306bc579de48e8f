// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/sim/report/html_report.hpp"
#include "apps/perigee/sim_report.hpp"

#include <vector>

namespace perigee::cli {

/// Charts of what rows say over the speed: a line for each policy with its admission, means over the seeds with their
/// intervals. Nothing where all rows have one speed.
std::vector<sim::report_section> sections_by_speed(const std::vector<sim_row>& rows,
                                                   const sim::service_level& promised);

} // namespace perigee::cli
