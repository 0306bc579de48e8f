// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/perigee/unique_fd.hpp"

#include <chrono>
#include <functional>
#include <thread>

namespace perigee::cli {

/// Keeps SIGINT and SIGTERM from ending the process: they wait for a `signal_source`. Call before any thread is
/// started.
void hold_stop_signals();

/// Readable once per SIGINT or SIGTERM; with `children`, also per SIGCHLD.
unique_fd signal_source(bool children);

struct stop_options {
  bool end_of_input_too = false;  ///< the end of standard input drains as well: whoever started us is gone or wants it
  std::chrono::seconds grace{30}; ///< a drain that was not asked for by a person and takes longer ends the process
};

/// Watches for the wish to stop, on a thread of its own. The first calls `drain` (on that thread, must not block); a
/// second ends the process at once with exit code 1. `hold_stop_signals` must have been called.
class stop_watcher {
public:
  stop_watcher(stop_options how, std::function<void()> drain);
  /// Stops watching.
  ~stop_watcher();

private:
  void watch();
  bool wait_for_wish(bool draining);

  stop_options how_;
  std::function<void()> drain_;
  unique_fd signals_;
  unique_fd wake_;
  std::thread thread_;
};

} // namespace perigee::cli
