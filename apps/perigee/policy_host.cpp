// SPDX-License-Identifier: Apache-2.0
#include "actors/node/policy_host.hpp"

#include "actors/node/incarnation.hpp"
#include "actors/node/node_system.hpp"
#include "apps/perigee/command.hpp"
#include "apps/perigee/stop_watcher.hpp"
#include "transport/base/status.hpp"

#include <caf/actor_system.hpp>
#include <caf/exit_reason.hpp>
#include <caf/io/middleman.hpp>
#include <caf/send.hpp>

#include <fmt/format.h>

#include <cstdio>
#include <future>
#include <memory>
#include <optional>

namespace perigee::cli {

namespace {

struct policy_host_flags {
  std::string policy;
  std::vector<std::string> plugins;
  std::string route_params;
  std::string listen = "127.0.0.1:7100";
  std::optional<uint64_t> seed;
  bool drain_on_eof = false;
};

policy_maker maker_of(const policy_host_flags& flags) {
  const auto* entry = find_routing_policy(flags.policy);
  if (entry == nullptr) {
    auto names = std::string{};
    for (const auto& known : routing_policies())
      names += (names.empty() ? "" : ", ") + known.name;
    throw usage_error(fmt::format("--policy: found \"{}\", allowed {}", flags.policy, names));
  }
  auto values = parse_parameters(flags.route_params);
  if (!values)
    throw usage_error(fmt::format("--route-params: found \"{}\", expected NAME=NUMBER, separated by commas",
                                  flags.route_params));
  for (const auto& [name, message] : check_parameters(entry->parameters, *values))
    throw usage_error(fmt::format("--route-params: {} of {}: {}", name, flags.policy, message));
  return entry->spawn.with({flags.seed ? *flags.seed : random_seed(), *values});
}

int run(const policy_host_flags& flags) {
  load_plugins(flags.plugins);
  auto make = maker_of(flags);
  auto at = parse_endpoint(flags.listen, "127.0.0.1", "--listen");
  hold_stop_signals(); // before threads are started, which inherit it
  auto asked_to_stop = std::promise<void>{};
  auto how = stop_options{};
  how.end_of_input_too = flags.drain_on_eof;
  auto watcher = stop_watcher{how, [&] { asked_to_stop.set_value(); }};
  init_node_types();
  auto config = node_system_config{true};
  auto system = caf::actor_system{config};
  auto report = [](const std::string& news) { std::fprintf(stderr, "perigee: policy host: %s\n", news.c_str()); };
  auto host = caf::actor_cast<caf::actor>(system.spawn<policy_host>(policy_host_options{flags.policy, make, report}));
  auto published = system.middleman().publish(host, at.port, at.host.c_str(), true);
  if (published) {
    std::printf("perigee: policy %s listens on %s:%u\n", flags.policy.c_str(), at.host.c_str(), at.port);
    std::fflush(stdout);
    asked_to_stop.get_future().wait();
  }
  caf::anon_send_exit(host, caf::exit_reason::user_shutdown);
  host = nullptr;
  if (!published)
    throw failure(errc::io_error, fmt::format("--listen: {}:{} cannot be opened: {}; is it in use?", at.host, at.port,
                                              caf::to_string(published.error())));
  return exit_success;
}

} // namespace

void add_policy_host(CLI::App& app, action& chosen) {
  auto flags = std::make_shared<policy_host_flags>();
  auto* sub = app.add_subcommand("policy-host", "Runs a routing policy in this process, for clusters that run elsewhere.");
  sub->add_option("--policy", flags->policy, "which (perigee policies lists them)")->required();
  sub->add_option("--plugin", flags->plugins, "a shared library with more routing policies; may be repeated");
  sub->add_option("--route-params", flags->route_params, "its parameters, NAME=NUMBER[,..]");
  sub->add_option("--listen", flags->listen, "HOST:PORT that Conductors connect to")->capture_default_str();
  sub->add_option("--seed", flags->seed, "of a policy that draws; by default a new one each time");
  sub->add_flag("--drain-on-eof", flags->drain_on_eof, "end when standard input ends, too");
  sub->footer("In the cluster file: policy { route = \"remote\", remote = \"127.0.0.1:7100\" }. While nobody answers there,\n"
              "least-seconds decides. The port is not protected: let only the cluster reach it.\n\n"
              "Examples:\n"
              "  perigee policy-host --policy central\n"
              "  perigee policy-host --plugin build/libmy-policies.so --policy mine --listen 10.0.0.7:7100");
  sub->callback([&chosen, flags] { chosen = [flags] { return run(*flags); }; });
}

} // namespace perigee::cli
