// SPDX-License-Identifier: Apache-2.0
#include "actors/node/config_keys.hpp"
#include "actors/policy/registry.hpp"
#include "apps/perigee/command.hpp"

#include <fmt/format.h>

namespace perigee::cli {

actors::known_policies offered_policies() {
  auto known = actors::known_policies{};
  for (const auto& entry : routing_policies()) {
    known.route.push_back(entry.name);
    known.route_params[entry.name] = entry.parameters;
  }
  for (const auto& kind : small_policies())
    if (kind.kind == "admission")
      for (const auto& line : kind.choices)
        known.admission.push_back(line.name);
  return known;
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
