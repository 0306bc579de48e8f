// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/command.hpp"
#include "apps/perigee/supervisor.hpp"

#include <filesystem>
#include <memory>

namespace perigee::cli {

namespace {

struct launch_options {
  std::string config;
  uint32_t grace_s = 30;
  std::string ssh = "ssh";
  std::string remote_perigee = "perigee";
};

int run_launch(const launch_options& options) {
  auto config = read_cluster_file(options.config);
  auto local = make_local_launcher();
  auto remote = make_ssh_launcher(options.ssh, options.remote_perigee, std::filesystem::current_path().string());
  auto how = supervisor::options{};
  how.config_path = options.config;
  how.grace = std::chrono::seconds{options.grace_s};
  how.launcher_for = [&](const std::string& host) -> launcher& { return is_local_host(host) ? *local : *remote; };
  return supervisor{config, std::move(how)}.run();
}

} // namespace

void add_launch(CLI::App& app, action& chosen) {
  auto options = std::make_shared<launch_options>();
  auto* sub =
    app.add_subcommand("launch", "Starts all nodes of a cluster file, keeps them running, and drains them on Ctrl-C.");
  sub->add_option("CONFIG", options->config, "cluster file")->required();
  sub->add_option("--grace", options->grace_s, "seconds a drain may take before what is left is killed")
    ->check(CLI::Range(0u, 86'400u))
    ->capture_default_str();
  sub->add_option("--ssh", options->ssh, "program that reaches hosts other than this one")->capture_default_str();
  sub->add_option("--remote-perigee", options->remote_perigee, "perigee's path on those hosts")->capture_default_str();
  sub->footer("A node whose host is this machine becomes a process here; any other is started through ssh in the same\n"
              "directory. A node that dies is started again. Ctrl-C drains; a second one stops at once.\n\n"
              "Examples:\n"
              "  perigee launch apps/demo/cluster.conf\n"
              "  perigee launch cluster.conf --remote-perigee /opt/perigee/bin/perigee");
  sub->callback([&chosen, options] { chosen = [options] { return run_launch(*options); }; });
}

} // namespace perigee::cli
