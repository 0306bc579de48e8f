// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/node/cluster_config.hpp"
#include "apps/perigee/launcher.hpp"
#include "apps/perigee/restart_schedule.hpp"

#include <chrono>
#include <functional>
#include <string>
#include <vector>

namespace perigee::cli {

/// Starts the processes of all nodes, keeps them running, and ends them: nodes with a gateway first, so that requests
/// in flight still find their instances. One thread, one loop; everything is printed on standard output, the nodes' own
/// lines with their name in front.
class supervisor {
public:
  using clock = std::chrono::steady_clock;

  struct options {
    std::string config_path;        ///< as the nodes are to read it
    std::chrono::seconds grace{30}; ///< a drain that takes longer is cut short
    std::function<launcher&(const std::string& host)> launcher_for;
  };

  supervisor(const actors::cluster_config& config, options how);
  /// No child outlives it.
  ~supervisor();

  /// Until a signal asked for the end, or a node refused its configuration. The exit code: 0 after a whole drain.
  int run();

private:
  enum class state { waiting, starting, ready, healthy, ended };

  struct member {
    const actors::node_config* node = nullptr;
    launcher* via = nullptr;
    state now = state::waiting;
    child process;
    restart_schedule restarts;
    clock::time_point start_at;   ///< while `waiting`
    clock::time_point started_at; ///< of the latest start
    bool was_healthy = false;
    std::string line; ///< of its output, not complete yet
  };

  void start_due(clock::time_point now);
  void start(member& one, clock::time_point now);
  void wait(clock::time_point until);
  clock::time_point next_deadline(clock::time_point now) const;
  void on_signals();
  void read_output(member& one);
  void on_line(member& one, const std::string& line);
  void check_health();
  void announce(member& one);
  void reap();
  void on_death(member& one, int wait_status);
  void drain(int exit_code);
  void release_drained();
  void kill_all();
  bool all_ended() const;

  const actors::cluster_config& config_;
  options how_;
  unique_fd signals_;
  std::vector<member> members_;
  bool draining_ = false;
  bool announced_all_ = false;
  clock::time_point kill_at_ = clock::time_point::max();
  int exit_code_ = 0;
};

} // namespace perigee::cli
