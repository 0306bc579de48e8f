// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/command.hpp"
#include "apps/perigee/launcher.hpp"
#include "apps/perigee/run_node.hpp"

#include <fmt/format.h>

namespace perigee::cli {

namespace {

struct node_options {
  std::string config;
  std::string name;
  bool drain_on_eof = false;
};

int run(const node_options& options) {
  auto config = read_cluster_file(options.config);
  if (config.find(options.name) == nullptr) {
    auto names = std::string{};
    for (const auto& node : config.nodes)
      names += (names.empty() ? "" : ", ") + node.name;
    throw usage_error(fmt::format("--name: {} has no node \"{}\"; its nodes: {}", options.config, options.name, names));
  }
  auto how = run_options{};
  how.stop.end_of_input_too = options.drain_on_eof;
  how.announcement = ready_line(options.name);
  return run_node(config, options.name, how);
}

} // namespace

void add_node(CLI::App& app, action& chosen) {
  auto options = std::make_shared<node_options>();
  auto* sub = app.add_subcommand("node", "Runs one node of a cluster file in this process.");
  sub->add_option("CONFIG", options->config, "cluster file; the same one on every machine")->required();
  sub->add_option("--name", options->name, "which of its nodes")->required();
  sub->add_flag("--drain-on-eof", options->drain_on_eof,
                "drain when standard input ends, too (as `perigee launch` asks for)");
  sub->footer("Prints \"perigee: node NAME ready\" once it serves. Ctrl-C drains; a second one stops at once.\n\n"
              "Example:\n"
              "  perigee node apps/demo/cluster.conf --name b");
  sub->callback([&chosen, options] { chosen = [options] { return run(*options); }; });
}

} // namespace perigee::cli
