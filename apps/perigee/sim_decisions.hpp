// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/status_messages.hpp"
#include "apps/perigee/sim_options.hpp"

#include <fstream>
#include <optional>
#include <string>

namespace perigee::cli {

/// The file that `--decisions` names: one JSON object a line for each decision of each run. It is opened before the first
/// run. Throws `failure` (`io_error`) where it cannot be written.
class sim_decisions {
public:
  /// Empty: nothing is wanted.
  explicit sim_decisions(const std::string& path);

  bool wanted() const {
    return file_.has_value();
  }
  /// A decision of `run`; the Conductor's clock showed `start_ns` at the trace's start.
  void add(const sim_run& run, const decision_record& decision, uint64_t start_ns);
  /// After the last run.
  void close();

private:
  std::string path_;
  std::optional<std::ofstream> file_;
};

/// One line of that file, as docs/simulation.md describes it.
std::string decision_line(const sim_run& run, const decision_record& decision, uint64_t start_ns);

} // namespace perigee::cli
