// SPDX-License-Identifier: Apache-2.0
#include "actors/node/config_keys.hpp"
#include "apps/perigee/command.hpp"
#include "apps/perigee/doctor_checks.hpp"

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <cstdio>
#include <optional>

namespace perigee::cli {

namespace {

struct doctor_options {
  std::string config;
  std::string provider = actors::cluster_config{}.provider;
  bool json = false;
  bool keys = false;
};

findings examine(const doctor_options& options) {
  auto config = std::optional<actors::cluster_config>{};
  if (!options.config.empty())
    config = read_cluster_file(options.config);
  auto provider = config ? config->provider : options.provider;
  auto out = findings{};
  if (config)
    out.push_back({verdict::ok, "cluster file", options.config});
  check_processor(out);
  check_limits(config ? &*config : nullptr, out);
  check_providers(provider, out);
  if (config) {
    check_model(*config, out);
    check_network(*config, out);
  }
  check_transfer(provider, out);
  auto known = offered_policies();
  auto names = [](const std::vector<std::string>& list) {
    auto joined = std::string{};
    for (const auto& name : list)
      joined += (joined.empty() ? "" : ", ") + name;
    return joined;
  };
  out.push_back({verdict::ok, "policies", "route: " + names(known.route) + "; admission: " + names(known.admission)});
  return out;
}

void print_table(const findings& all) {
  for (const auto& one : all)
    std::printf("%-4s  %-13s  %s\n", std::string{to_string(one.result)}.c_str(), one.about.c_str(), one.detail.c_str());
}

void print_json(const findings& all) {
  auto list = boost::json::array{};
  for (const auto& one : all)
    list.push_back({{"result", to_string(one.result)}, {"about", one.about}, {"detail", one.detail}});
  std::printf("%s\n", boost::json::serialize(list).c_str());
}

int run(const doctor_options& options) {
  if (options.keys) {
    std::printf("%s", actors::config_keys_markdown().c_str());
    return exit_success;
  }
  auto all = examine(options);
  if (options.json)
    print_json(all);
  else
    print_table(all);
  auto failed = std::ranges::any_of(all, [](const finding& one) { return one.result == verdict::fail; });
  return failed ? exit_failure : exit_success;
}

} // namespace

void add_doctor(CLI::App& app, action& chosen) {
  auto options = std::make_shared<doctor_options>();
  auto* sub = app.add_subcommand("doctor", "Checks this machine, and a cluster file, for what would go wrong later.");
  sub->add_option("CONFIG", options->config, "cluster file");
  sub->add_option("--provider", options->provider, "libfabric provider to try, without a cluster file")
    ->capture_default_str();
  sub->add_flag("--json", options->json, "the findings as JSON");
  sub->add_flag("--keys", options->keys, "print the table of the cluster file's keys instead");
  sub->footer("Exits with 1 if anything fails; warnings do not count.\n\n"
              "Examples:\n"
              "  perigee doctor\n"
              "  perigee doctor apps/demo/cluster.conf");
  sub->callback([&chosen, options] { chosen = [options] { return run(*options); }; });
}

} // namespace perigee::cli
