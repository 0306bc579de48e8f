// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>

namespace perigee::cli {

/// Tells people how far a node has come with loading: on a terminal one line of standard error that changes, else now
/// and then a line of news. A node that is quick says nothing.
class load_progress {
public:
  /// `listener` hears every step, `news` what should stand in a log.
  load_progress(std::function<void(const std::string& detail, uint32_t percent)> listener,
                std::function<void(const std::string&)> news, bool terminal);
  /// Takes the line back.
  ~load_progress();

  load_progress(const load_progress&) = delete;
  load_progress& operator=(const load_progress&) = delete;

  /// Any thread. `share`: of `what`.
  void on(const std::string& what, double share);

private:
  const std::function<void(const std::string&, uint32_t)> listener_;
  const std::function<void(const std::string&)> news_;
  const bool terminal_;
  std::mutex mutex_;
  std::chrono::steady_clock::time_point next_; // guarded by mutex_
  bool line_stands_ = false;                   // guarded by mutex_
};

} // namespace perigee::cli
