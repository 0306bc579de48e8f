// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/status_messages.hpp"
#include "apps/perigee/sim_options.hpp"

#include <fstream>
#include <optional>
#include <string>

namespace perigee::cli {

/// A file that `--decisions` or `--outcomes` names: one JSON object a line. It is opened before the first run. Throws
/// `failure` (`io_error`), which names the flag, where it cannot be written.
class sim_lines {
public:
  /// An empty path: nothing is wanted.
  sim_lines(std::string flag, std::string path);

  bool wanted() const {
    return file_.has_value();
  }
  void add(const std::string& line);
  /// After the last run.
  void close();

private:
  std::string flag_;
  std::string path_;
  std::optional<std::ofstream> file_;
};

/// A decision of `run`, as docs/simulation.md describes its line; the Conductor's clock showed `start_ns` at the
/// trace's start.
std::string decision_line(const sim_run& run, const decision_record& decision, uint64_t start_ns);

/// What became of a request, by its number in the trace, from 1; as docs/simulation.md describes its line.
std::string outcome_line(const sim_run& run, size_t number, const sim::request_record& record);

} // namespace perigee::cli
