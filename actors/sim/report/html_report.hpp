// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/sim/report/run_record.hpp"
#include "actors/sim/report/svg_chart.hpp"

#include <iosfwd>
#include <span>
#include <string>
#include <vector>

namespace perigee::sim {

/// Runs that the charts show, the first ones of a page; the table has all.
inline constexpr size_t charted_runs_max = 12;

/// Charts over something else than time, such as a metric over the speed. Their lines' styles count the names.
struct report_section {
  std::string title;
  std::string text; ///< may be empty
  std::vector<std::string> names;
  std::vector<chart> charts; ///< each under its title
};

struct report_page {
  std::string title;
  std::vector<std::string> facts; ///< what was run: trace, cluster, profile, SLO
  std::vector<summary_column> columns;
  std::vector<report_section> sections; ///< between the table and the charts of the runs
  uint64_t slo_ttft_ns = 0;             ///< 0: none
  uint64_t slo_tbt_ns = 0;
};

/// Writes one HTML page that needs nothing else: the table, distributions of TTFT and TBT, and over time what waits for
/// prefill, hit ratio, rejects, load of each instance, copies of hot blocks. Its size is bounded by the number of runs
/// and instances, whatever the number of requests: curves have at most 240 points. Texts may hold anything.
void write_html_report(std::ostream& out, const report_page& page, std::span<const run_record> runs);

} // namespace perigee::sim
