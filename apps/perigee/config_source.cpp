// SPDX-License-Identifier: Apache-2.0
#include "actors/node/config_keys.hpp"
#include "actors/policy/plugin_loader.hpp"
#include "actors/policy/registry.hpp"
#include "apps/perigee/command.hpp"

#include <fmt/format.h>

namespace perigee::cli {

namespace {

void list_routing(actors::known_policies& into) {
  into.route.clear();
  for (const auto& entry : routing_policies()) {
    into.route.push_back(entry.name);
    into.route_params[entry.name] = entry.parameters;
  }
}

} // namespace

actors::known_policies offered_policies() {
  auto known = actors::known_policies{};
  list_routing(known);
  known.load_plugin = [](const std::string& file, actors::known_policies& into) {
    auto wrong = load_policy_plugin(file);
    list_routing(into);
    return wrong;
  };
  for (const auto& kind : small_policies())
    if (kind.kind == "admission")
      for (const auto& line : kind.choices)
        known.admission.push_back(line.name);
  return known;
}

void load_plugins(const std::vector<std::string>& files) {
  for (const auto& file : files)
    if (auto wrong = load_policy_plugin(file))
      throw usage_error("--plugin: " + *wrong);
}

uint64_t parse_size(const std::string& text, const std::string& flag) {
  auto bytes = actors::parse_bytes(text);
  if (!bytes)
    throw usage_error(fmt::format("{}: found \"{}\", expected a size such as 256MiB", flag, text));
  return *bytes;
}

std::string lines_of(const std::vector<actors::config_error>& errors) {
  auto out = std::string{};
  for (const auto& error : errors)
    out += (out.empty() ? "" : "\n") + to_string(error);
  return out;
}

actors::cluster_config read_cluster_file(const std::string& path) {
  auto loaded = actors::load_cluster_config(path, offered_policies());
  if (auto* errors = std::get_if<std::vector<actors::config_error>>(&loaded))
    throw usage_error(lines_of(*errors));
  return std::get<actors::cluster_config>(std::move(loaded));
}

} // namespace perigee::cli
