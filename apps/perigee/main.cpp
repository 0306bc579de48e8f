// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/command.hpp"
#include "transport/base/status.hpp"

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include <csignal>
#include <cstdio>
#include <sstream>

namespace perigee::cli {

namespace {

/// One line a problem, each with the program's name in front.
void complain(const std::string& lines) {
  auto in = std::istringstream{lines};
  for (auto line = std::string{}; std::getline(in, line);)
    if (!line.empty())
      std::fprintf(stderr, "perigee: %s\n", line.c_str());
}

/// The name of the subcommand that the command line got as far as.
std::string parsed_command(const CLI::App& app) {
  auto chosen = app.get_subcommands();
  return chosen.empty() ? "" : chosen.front()->get_name() + ' ';
}

int run(int argc, char** argv) {
  auto app = CLI::App{"perigee serves large language models with prefill, decode and KV cache apart."};
  app.name("perigee");
  app.set_version_flag("--version", "perigee " PERIGEE_VERSION);
  app.require_subcommand(1);
  app.footer("Examples:\n"
             "  perigee serve --model apps/demo/model          one process, HTTP on 127.0.0.1:8000\n"
             "  perigee launch apps/demo/cluster.conf          every node of a cluster file\n"
             "  perigee complete --prompt \"Once upon a time\"   the engine alone\n"
             "  perigee status                                 what runs where\n"
             "Each subcommand has its own --help.");
  auto chosen = action{};
  add_serve(app, chosen);
  add_node(app, chosen);
  add_launch(app, chosen);
  add_status(app, chosen);
  add_complete(app, chosen);
  add_bench(app, chosen);
  add_doctor(app, chosen);
  add_sim(app, chosen);
  add_plan(app, chosen);
  add_policies(app, chosen);
  add_policy_host(app, chosen);
  auto first = std::string{argc > 1 ? argv[1] : "-"};
  if (!first.starts_with('-')
      && app.get_subcommands([&](const CLI::App* sub) { return sub->get_name() == first; }).empty()) {
    complain("unknown subcommand \"" + first + "\" (see perigee --help)");
    return exit_usage;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success))
      return app.exit(error);
    complain(std::string{error.what()} + " (see perigee " + parsed_command(app) + "--help)");
    return exit_usage;
  }
  return chosen();
}

} // namespace

} // namespace perigee::cli

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
#if !defined(__SANITIZE_ADDRESS__)
  // A provider library that libfabric loads takes these over at start and would leave files in the working directory.
  for (auto crash : {SIGSEGV, SIGBUS, SIGILL, SIGABRT, SIGFPE})
    std::signal(crash, SIG_DFL);
#endif
  try {
    return perigee::cli::run(argc, argv);
  } catch (const perigee::cli::usage_error& error) {
    perigee::cli::complain(error.what());
    return perigee::cli::exit_usage;
  } catch (const std::exception& error) {
    perigee::cli::complain(error.what());
    return perigee::cli::exit_failure;
  }
}
