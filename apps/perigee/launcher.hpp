// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/perigee/unique_fd.hpp"

#include <sys/types.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace perigee::cli {

/// What a node's process prints on standard output, alone on a line, once it serves: "perigee: node NAME ready".
std::string ready_line(std::string_view node);

/// One process to start: `perigee ARGUMENTS` on `host`.
struct node_command {
  std::string host;
  std::vector<std::string> arguments;
};

/// A process that was started for a node: the node itself, or the ssh client that stands for it. In a process group of
/// its own, so that a Ctrl-C on the terminal reaches the launcher alone.
struct child {
  pid_t pid = -1;
  unique_fd output; ///< its standard output and error, non-blocking
  unique_fd input;  ///< its standard input; closing it asks the node to drain
};

/// How processes get onto machines. Called from the launcher's main thread only: a child dies with the thread that made
/// it.
class launcher {
public:
  virtual ~launcher() = default;

  /// Throws `failure` if no process can be made. A program that cannot be executed ends with exit code 127.
  virtual child start(const node_command& command) = 0;
};

/// Runs this very binary on this machine. Its children are killed when the launcher dies.
std::unique_ptr<launcher> make_local_launcher();

/// Runs `remote_perigee` through `ssh_program` in `directory` of the other machine. When the connection or the launcher
/// goes, the node's standard input ends, and it drains.
std::unique_ptr<launcher> make_ssh_launcher(std::string ssh_program, std::string remote_perigee, std::string directory);

/// The line that a shell on the other machine gets; everything in it is quoted.
std::string remote_shell_line(const std::string& directory, const std::string& program,
                              const std::vector<std::string>& arguments);

/// Whether `host` names this machine: a loopback name or an address of one of its interfaces.
bool is_local_host(const std::string& host);

} // namespace perigee::cli
