// SPDX-License-Identifier: Apache-2.0
#include "actors/policy/plugin_loader.hpp"

#include "actors/node/cluster_config.hpp"
#include "actors/policy/registry.hpp"
#include "tests/actors/policy/policy_fixture.hpp"
#include "tests/support/testing.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/scoped_actor.hpp>

#include <cstdlib>
#include <fstream>

using namespace perigee;
using perigee::testing::policy_fixture;

namespace {

std::string plugin(const std::string& name) {
  const auto* folder = std::getenv("PERIGEE_TEST_PLUGINS");
  REQUIRE(folder != nullptr);
  return std::string{folder} + "/lib" + name + ".so";
}

/// What a policy of the registry decides about one request to three idle instances.
route_decision decided_by(const char* name, policy_setup setup) {
  auto config = caf::actor_system_config{};
  auto system = caf::actor_system{config};
  auto self = caf::scoped_actor{system};
  const auto* entry = find_routing_policy(name);
  REQUIRE(entry != nullptr);
  auto policy = entry->spawn.with(std::move(setup))(system);
  auto f = policy_fixture{};
  for (auto i = uint32_t{0}; i < 3; ++i)
    f.prefill(i);
  f.decode(0);
  self->send(policy, instance_loads{f.loads});
  auto result = route_decision{};
  self->request(policy, caf::infinite, f.query({0, 0, 0}))
    .receive([&](const route_decision& answer) { result = answer; },
             [](const caf::error& error) { FAIL(caf::to_string(error)); });
  caf::anon_send_exit(policy, caf::exit_reason::user_shutdown);
  return result;
}

void check_refused(const std::string& file, const std::string& why) {
  auto before = routing_policies().size();
  auto wrong = load_policy_plugin(file);
  REQUIRE(wrong.has_value());
  CAPTURE(*wrong);
  CHECK(wrong->find('"' + file + '"') != std::string::npos);
  CHECK(wrong->find(why) != std::string::npos);
  CHECK_EQ(routing_policies().size(), before);
}

} // namespace

TEST_CASE("plugin_loader: the policies of a plugin decide under their names, with parameters and a seed") {
  auto before = routing_policies().size();
  for (auto times = 0; times < 2; ++times) {
    CHECK_EQ(load_policy_plugin(plugin("good")), std::nullopt);
    CHECK_EQ(routing_policies().size(), before + 2);
  }
  CHECK(find_routing_policy("highest")->plugin.ends_with("libgood.so"));
  CHECK_EQ(find_routing_policy("highest")->parameters.at(0).name, "sign");
  CHECK_EQ(decided_by("highest", {}).chosen.prefill, 2);
  CHECK_EQ(decided_by("highest", {0, {{"sign", 1}}}).chosen.prefill, 0);
  CHECK_EQ(decided_by("highest", {}).placement, 1);
  CHECK_EQ(decided_by("drawn", {7, {}}).chosen.score, decided_by("drawn", {7, {}}).chosen.score);
  CHECK_NE(decided_by("drawn", {7, {}}).chosen.score, decided_by("drawn", {8, {}}).chosen.score);
}

TEST_CASE("plugin_loader: what is no plugin is refused with the reason") {
  check_refused("", "there is no such file");
  check_refused("no-such-file.so", "there is no such file");
  auto text = perigee::testing::scratch_dir() / "text.so";
  std::ofstream{text} << "not a library\n";
  check_refused(text.string(), "cannot be loaded");
  check_refused(plugin("no-entry"), "exports no function perigee_policy_plugin");
}

TEST_CASE("plugin_loader: a plugin that was built for something else is refused, and both sides are named") {
  check_refused(plugin("other-abi"), "it was built for policy ABI 999, this perigee for 1; build it again");
  check_refused(plugin("other-compiler"), "it was built for compiler gcc 4, this perigee for ");
  check_refused(plugin("other-library"), "it was built for standard library libstdc++ 3, this perigee for libstdc++ ");
  check_refused(plugin("other-caf"), "it was built for CAF 0.17.6, this perigee for 0.");
  check_refused(plugin("other-layout"), "it was built for message layout 1, this perigee for ");
}

TEST_CASE("plugin_loader: a policy whose name is taken or not allowed is refused, and with it all of its plugin") {
  check_refused(plugin("taken-name"), "its policy \"least-seconds\" has the name of a policy that is built in");
  check_refused(plugin("twice"), "it offers two policies called \"one\"");
  check_refused(plugin("bad-name"), "it offers a policy called \"My Policy\"; allowed are lower-case letters");
  check_refused(plugin("reserved-name"), "it offers a policy called \"remote\"");
  CHECK_EQ(find_routing_policy("one"), nullptr);
  REQUIRE_EQ(load_policy_plugin(plugin("good")), std::nullopt);
  check_refused(plugin("taken-by-plugin"), "its policy \"highest\" has the name of one of ");
}

TEST_CASE("cluster_config: a plugin of the cluster file brings its policies, and is refused under its key") {
  auto known = actors::known_policies{{"least-seconds"}, {"none"}};
  known.load_plugin = [](const std::string& file, actors::known_policies& into) -> std::optional<std::string> {
    if (file != "fine.so")
      return "plugin \"" + file + "\" is refused";
    into.route.push_back("mine");
    into.route_params["mine"] = {{"weight", 1, 0, 2, "weight"}};
    return std::nullopt;
  };
  auto errors_of = [&](const std::string& policy) {
    auto text = "perigee {\nmodel = \"m\"\npolicy { admission = \"none\", " + policy
                + " }\nnodes = [ { name = \"a\", http = 1, roles = [\"gateway\", \"conductor\", \"prefill\", \"decode\"] } ]\n}\n";
    auto loaded = actors::parse_cluster_config(text, "file", known);
    auto* errors = std::get_if<std::vector<actors::config_error>>(&loaded);
    return errors == nullptr ? std::vector<actors::config_error>{} : *errors;
  };
  CHECK(errors_of("route = \"mine\", plugin = \"fine.so\", route-params { weight = 1.5 }").empty());
  auto range = errors_of("route = \"mine\", plugin = \"fine.so\", route-params { weight = 3 }");
  REQUIRE_EQ(range.size(), 1);
  CHECK_EQ(range[0].path, "perigee.policy.route-params.weight");
  auto refused = errors_of("route = \"mine\", plugin = \"broken.so\"");
  REQUIRE_EQ(refused.size(), 1);
  CHECK_EQ(to_string(refused[0]), "perigee.policy.plugin: plugin \"broken.so\" is refused");
  CHECK_EQ(errors_of("route = \"mine\"").size(), 1);
}
