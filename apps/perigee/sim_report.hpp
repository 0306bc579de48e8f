// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/perigee/sim_options.hpp"

#include <boost/json/object.hpp>

#include <string>
#include <vector>

namespace perigee::cli {

/// One run and what came of it.
struct sim_row {
  sim_run run;
  uint32_t prefill = 0;
  uint32_t decode = 0;
  sim::service_summary service;
  double prefill_mean_s = 0; ///< device seconds for each prompt
  double moved_tokens = 0;
  double replicas = 0;
  uint64_t decode_steps = 0;
  uint64_t messages = 0;
  uint64_t timers = 0;
  double virtual_s = 0;
  double wall_s = 0;
  std::string digest;
};

sim_row row_of(const sim_plan& plan, const sim_run& run, const sim::replay_result& result);

/// One line a run.
std::string render_sim(const std::vector<sim_row>& rows);

/// One field a column, as docs/simulation.md lists them.
boost::json::object sim_json(const sim_row& row);

} // namespace perigee::cli
