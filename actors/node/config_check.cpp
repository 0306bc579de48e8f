// SPDX-License-Identifier: Apache-2.0
#include "actors/node/config_check.hpp"

#include "actors/policy/coupling.hpp"
#include "actors/policy/reserved_names.hpp"

#include <algorithm>
#include <cctype>
#include <map>
#include <set>

namespace perigee::actors {

namespace {

using errors = std::vector<config_error>;

std::string quote_all(const std::vector<std::string>& names) {
  auto out = std::string{};
  for (const auto& name : names)
    out += (out.empty() ? "\"" : ", \"") + name + '"';
  return out;
}

template <class Section>
void check_text(const config_key<Section>& key, const std::string& value, const std::string& path, errors& out) {
  if (key.required && value.empty())
    out.push_back({path, fmt::format("missing: {}", key.doc)});
  if (!key.choices.empty()
      && fmt::format(", {}, ", key.choices).find(fmt::format(", {}, ", value)) == std::string::npos)
    out.push_back({path, fmt::format("found \"{}\", allowed: {}", value, key.choices)});
}

template <class Number>
bool within(Number value, uint64_t min, uint64_t max) {
  if constexpr (std::is_same_v<Number, std::chrono::nanoseconds>)
    return value.count() >= 0 && static_cast<uint64_t>(value.count()) >= min
           && static_cast<uint64_t>(value.count()) <= max;
  else
    return value >= min && value <= max;
}

template <class Number>
std::string show(Number value) {
  if constexpr (std::is_same_v<Number, std::chrono::nanoseconds>)
    return format_duration(value);
  else if constexpr (std::is_same_v<Number, uint64_t>)
    return format_bytes(value);
  else
    return std::to_string(value);
}

/// Ranges and required keys of one section. A number that equals its default is well, also the 0 of an absent port.
template <class Section>
void check_section(const Section& section, const std::string& path, errors& out) {
  static const auto defaults = Section{}; // static: g++ 12 cannot see that no field of another type is read
  for (const auto& key : config_keys<Section>()) {
    auto key_path = fmt::format("{}.{}", path, key.name);
    std::visit(
      [&](auto field) {
        using value_type = std::remove_cvref_t<decltype(section.*field)>;
        const auto& value = section.*field;
        if constexpr (std::is_same_v<value_type, std::string>)
          check_text(key, value, key_path, out);
        else if constexpr (std::is_same_v<value_type, bool>)
          return;
        else if constexpr (std::is_same_v<value_type, std::vector<node_role>>) {
          if (value.empty())
            out.push_back({key_path, fmt::format("missing: {}", key.doc)});
        } else if (value != defaults.*field && !within(value, key.min, key.max))
          out.push_back({key_path, range_message<value_type>(show(value), key)});
      },
      key.field);
  }
}

void check_choice(const std::string& value, const std::vector<std::string>& known, const char* path, errors& out) {
  if (std::ranges::find(known, value) == known.end())
    out.push_back({path, fmt::format("found \"{}\", known: {}", value, quote_all(known))});
}

void check_route(const policy_config& policy, const known_policies& known, errors& out) {
  auto is_remote = policy.route == remote_policy_name;
  if (!is_remote)
    check_choice(policy.route, known.route, "perigee.policy.route", out);
  if (is_remote && !parse_place(policy.remote))
    out.push_back({"perigee.policy.remote",
                   fmt::format("found \"{}\", expected HOST:PORT of a perigee policy-host, such as 127.0.0.1:7100; "
                               "route is \"remote\"",
                               policy.remote)});
  if (!is_remote && !policy.remote.empty())
    out.push_back({"perigee.policy.remote", fmt::format("given, but route is \"{}\"; say route = \"remote\" or drop the "
                                                        "key",
                                                        policy.route)});
  if (is_remote && !policy.route_params.empty())
    out.push_back({"perigee.policy.route-params", "given, but the policy is another process's; give them there: perigee "
                                                  "policy-host --route-params"});
  if (auto params = known.route_params.find(policy.route); params != known.route_params.end())
    for (auto& [name, message] : check_parameters(params->second, policy.route_params))
      out.push_back({"perigee.policy.route-params." + name, std::move(message)});
}

bool is_plain_name(const std::string& name) {
  return std::ranges::all_of(
    name, [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_'; });
}

void check_name(const cluster_config& config, size_t index, errors& out) {
  const auto& name = config.nodes[index].name;
  auto path = node_path(index) + ".name";
  if (!is_plain_name(name))
    out.push_back({path, fmt::format("found \"{}\", allowed are letters, digits, '-' and '_'", name)});
  for (size_t before = 0; before < index; ++before)
    if (!name.empty() && config.nodes[before].name == name)
      out.push_back({path, fmt::format("\"{}\" is also the name of {}; names are unique", name, node_path(before))});
}

void check_device(const std::string& device, const std::string& path, errors& out) {
  if (!parse_device_choice(device))
    out.push_back({path + ".device", fmt::format("found \"{}\", allowed: auto, cpu, cuda, cuda:N", device)});
}

void check_roles(const node_config& node, const std::string& path, errors& out) {
  auto seen = std::set<node_role>{};
  for (auto what : node.roles)
    if (!seen.insert(what).second)
      out.push_back({path + ".roles", fmt::format("\"{}\" stands there twice; more instances: {}-count",
                                                  to_string(what), to_string(what))});
  if (node.count(node_role::gateway) > 0 && node.http == 0)
    out.push_back({path + ".http", "missing: the port of this node's gateway"});
}

std::string canonical_host(const std::string& host) {
  return host == "localhost" ? "127.0.0.1" : host;
}

/// Two sockets cannot listen on the same port of the same host.
class port_book {
public:
  void add(const std::string& host, uint16_t port, const std::string& path, errors& out) {
    if (port == 0)
      return;
    auto [entry, is_new] = used_.emplace(std::pair{canonical_host(host), port}, path);
    if (!is_new)
      out.push_back({path, fmt::format("port {} of {} is already taken by {}", port, host, entry->second)});
  }

private:
  std::map<std::pair<std::string, uint16_t>, std::string> used_;
};

void check_network(const cluster_config& config, errors& out) {
  auto ports = port_book{};
  auto several = config.nodes.size() > 1;
  for (size_t i = 0; i < config.nodes.size(); ++i) {
    const auto& node = config.nodes[i];
    auto path = node_path(i);
    if (node.host.empty())
      out.push_back({path + ".host", "found \"\", expected an address or a host name"});
    if (several && (node.host == "0.0.0.0" || node.host == "::"))
      out.push_back(
        {path + ".host", fmt::format("found \"{}\", which no other node can connect to; name an address", node.host)});
    if (several && node.control == 0)
      out.push_back({path + ".control", "missing: the port of the link between nodes"});
    ports.add(node.host, node.control, path + ".control", out);
    ports.add(node.host, node.http, path + ".http", out);
  }
}

void check_totals(const cluster_config& config, errors& out) {
  auto path = std::string{"perigee.nodes"};
  if (config.nodes.empty()) {
    out.push_back({path, "missing: the list of nodes"});
    return;
  }
  auto is_coupled = config.policy.coupled != "none";
  for (auto what : {node_role::gateway, node_role::conductor, node_role::prefill, node_role::decode})
    if (config.count(what) == 0 && !(is_coupled && what == node_role::prefill))
      out.push_back({path, fmt::format("no node has the role \"{}\"; the cluster needs one", to_string(what))});
  if (config.count(node_role::conductor) > 1) {
    auto names = std::vector<std::string>{};
    for (const auto& node : config.nodes)
      if (node.count(node_role::conductor) > 0)
        names.push_back(node.name);
    out.push_back({path, fmt::format("{} nodes have the role \"conductor\" ({}); exactly one may", names.size(),
                                     quote_all(names))});
  }
}

void check_coupled(const cluster_config& config, errors& out) {
  if (find_coupling(config.policy.coupled).value_or(coupling::none) == coupling::none)
    return;
  auto path = std::string{"perigee.policy.coupled"};
  if (auto count = config.count(node_role::prefill); count > 0)
    out.push_back({path, fmt::format("found \"{}\" with {} prefill instances; decode instances compute prompts then: "
                                     "take the role from the nodes, or \"none\"",
                                     config.policy.coupled, count)});
  if (config.policy.conditional)
    out.push_back({path, fmt::format("found \"{}\" beside a section conditional; only one of them may stand there",
                                     config.policy.coupled)});
  if (config.policy.cpp)
    out.push_back({path, fmt::format("found \"{}\" beside a section cpp; only one of them may stand there",
                                     config.policy.coupled)});
}

} // namespace

std::string node_path(size_t index) {
  return fmt::format("perigee.nodes[{}]", index);
}

std::vector<config_error> check_cluster_config(const cluster_config& config, const known_policies& known) {
  auto out = errors{};
  check_section(config, "perigee", out);
  check_section(config.slo, "perigee.slo", out);
  check_section(config.policy, "perigee.policy", out);
  if (config.policy.conditional)
    check_section(*config.policy.conditional, "perigee.policy.conditional", out);
  if (config.policy.cpp)
    check_section(*config.policy.cpp, "perigee.policy.cpp", out);
  check_coupled(config, out);
  check_section(config.log, "perigee.log", out);
  check_route(config.policy, known, out);
  check_choice(config.policy.admission, known.admission, "perigee.policy.admission", out);
  if (config.provider.empty())
    out.push_back({"perigee.provider", "found \"\", expected a libfabric provider such as \"tcp;ofi_rxm\""});
  if (config.request_timeout < config.slo.ttft)
    out.push_back({"perigee.request-timeout",
                   fmt::format("found {}, which is shorter than slo.ttft ({}): every slow request would fail "
                               "before it breaks its objective",
                               format_duration(config.request_timeout), format_duration(config.slo.ttft))});
  for (size_t i = 0; i < config.nodes.size(); ++i) {
    check_section(config.nodes[i], node_path(i), out);
    check_name(config, i, out);
    check_roles(config.nodes[i], node_path(i), out);
    check_device(config.nodes[i].device, node_path(i), out);
  }
  check_network(config, out);
  check_totals(config, out);
  return out;
}

} // namespace perigee::actors
