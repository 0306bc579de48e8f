// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/sim/report/run_record.hpp"
#include "apps/perigee/sim_report.hpp"

#include <fstream>
#include <optional>
#include <string>
#include <vector>

namespace perigee::cli {

/// The files that `--html` and `--timeline` name. They are opened before the first run, so that a long run is not lost
/// to a wrong path. Throws `failure` (`io_error`) where one cannot be written.
class sim_pages {
public:
  /// Empty paths: nothing is wanted.
  sim_pages(const std::string& html, const std::string& timeline);

  bool wanted() const {
    return html_ || timeline_;
  }
  bool slices_wanted() const {
    return timeline_.has_value();
  }
  /// What the recorder of a run saw, in the order of the rows.
  void add(sim::run_record record) {
    records_.push_back(std::move(record));
  }
  /// After the last run; `facts` says what was run.
  void write(const sim_plan& plan, const std::vector<sim_row>& rows, const std::vector<std::string>& facts);

private:
  struct file {
    std::string flag;
    std::string path;
    std::ofstream out;
  };

  static std::optional<file> open(const std::string& flag, const std::string& path);
  static void close(file& what);

  std::optional<file> html_;
  std::optional<file> timeline_;
  std::vector<sim::run_record> records_;
};

} // namespace perigee::cli
