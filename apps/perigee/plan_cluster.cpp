// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/plan_cluster.hpp"

#include "actors/node/config_keys.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

namespace perigee::cli {

namespace {

using actors::node_role;

constexpr uint16_t first_control_port = 7001;
constexpr uint16_t http_port = 8000;

uint64_t bytes_of(double tokens, const sim::replay_profile& profile) {
  return static_cast<uint64_t>(tokens * profile.costs.kv_bytes_token + 0.5);
}

std::string role_list(const std::vector<node_role>& roles) {
  auto out = std::string{};
  for (auto what : roles)
    out += fmt::format("{}\"{}\"", out.empty() ? "" : ", ", to_string(what));
  return out;
}

std::string node_text(const actors::node_config& node) {
  auto out = fmt::format("    {{ name = \"{}\", host = \"{}\", control = {}, roles = [{}], kv-memory = \"{}\"", node.name,
                         node.host, node.control, role_list(node.roles), actors::format_bytes(node.kv_memory));
  if (node.count(node_role::shard) > 0)
    out += fmt::format(", shard-memory = \"{}\"", actors::format_bytes(node.shard_memory));
  if (node.http != 0)
    out += fmt::format(", http = {}", node.http);
  return out + " }";
}

} // namespace

actors::cluster_config cluster_of(const planned_cluster& plan) {
  const auto& options = plan.options;
  auto config = actors::cluster_config{};
  config.model = plan.model;
  config.slo.ttft = std::chrono::nanoseconds{options.slo_ttft_ns};
  config.slo.tbt = std::chrono::nanoseconds{options.slo_tbt_ns};
  config.request_timeout = std::max(config.request_timeout, 2 * config.slo.ttft);
  config.policy.route = options.policy;
  config.policy.route_params = options.route_params;
  config.policy.admission = plan.admission;
  config.policy.local_order = to_string(options.order);
  config.policy.eviction = to_string(options.evicts);
  config.policy.copies_cool = options.copies_cool;
  for (uint32_t i = 0; i < options.prefills + options.decodes; ++i) {
    auto prefills = i < options.prefills;
    auto node = actors::node_config{};
    node.name = fmt::format("{}-{}", prefills ? "prefill" : "decode", prefills ? i : i - options.prefills);
    node.host = plan.hosts[i % plan.hosts.size()];
    node.control = static_cast<uint16_t>(first_control_port + i / plan.hosts.size());
    if (i == 0) {
      node.roles = {node_role::gateway, node_role::conductor};
      node.http = http_port;
    }
    node.roles.push_back(prefills ? node_role::prefill : node_role::decode);
    // A prompt on its way through a prefill instance is given as much room as a decode instance has.
    node.kv_memory = bytes_of(static_cast<double>(options.profile.decode_tokens), options.profile);
    if (prefills) {
      node.roles.push_back(node_role::shard);
      node.shard_memory = bytes_of(static_cast<double>(options.profile.cache_tokens), options.profile);
    }
    config.nodes.push_back(std::move(node));
  }
  return config;
}

std::string cluster_text(const actors::cluster_config& config, const std::string& comment) {
  auto out = std::string{};
  auto lines = std::istringstream{comment};
  for (auto line = std::string{}; std::getline(lines, line);)
    out += "# " + line + '\n';
  auto params = std::string{};
  for (const auto& [name, value] : config.policy.route_params)
    params += fmt::format("{} {} = {}", params.empty() ? "" : ",", name, value);
  out += fmt::format("perigee {{\n"
                     "  model = \"{}\"\n"
                     "  request-timeout = {}\n"
                     "  slo {{ ttft = {}, tbt = {} }}\n"
                     "  policy {{ route = \"{}\", admission = \"{}\", local-order = \"{}\", eviction = \"{}\", copies-cool = {}{} }}\n"
                     "  nodes = [\n",
                     config.model, actors::format_duration(config.request_timeout),
                     actors::format_duration(config.slo.ttft), actors::format_duration(config.slo.tbt),
                     config.policy.route, config.policy.admission, config.policy.local_order, config.policy.eviction,
                     config.policy.copies_cool,
                     params.empty() ? "" : fmt::format(", route-params {{{} }}", params));
  for (size_t i = 0; i < config.nodes.size(); ++i)
    out += node_text(config.nodes[i]) + (i + 1 < config.nodes.size() ? ",\n" : "\n");
  return out + "  ]\n}\n";
}

} // namespace perigee::cli
