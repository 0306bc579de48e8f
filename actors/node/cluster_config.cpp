// SPDX-License-Identifier: Apache-2.0
#include "actors/node/cluster_config.hpp"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <utility>

namespace perigee::actors {

std::optional<std::pair<std::string, uint16_t>> parse_place(std::string_view text) {
  auto colon = text.rfind(':');
  if (colon == 0 || colon == std::string_view::npos)
    return std::nullopt;
  auto port = uint16_t{0};
  auto [end, error] = std::from_chars(text.data() + colon + 1, text.data() + text.size(), port);
  if (error != std::errc{} || end != text.data() + text.size() || port == 0)
    return std::nullopt;
  return std::pair{std::string{text.substr(0, colon)}, port};
}

uint32_t node_config::count(node_role what) const noexcept {
  if (std::ranges::find(roles, what) == roles.end())
    return 0;
  switch (what) {
  case node_role::prefill: return prefill_count;
  case node_role::decode: return decode_count;
  case node_role::shard: return shard_count;
  case node_role::gateway:
  case node_role::conductor: break;
  }
  return 1;
}

uint32_t cluster_config::count(node_role what) const noexcept {
  auto sum = uint32_t{0};
  for (const auto& node : nodes)
    sum += node.count(what);
  return sum;
}

const node_config* cluster_config::find(std::string_view name) const noexcept {
  auto found = std::ranges::find(nodes, name, &node_config::name);
  return found == nodes.end() ? nullptr : &*found;
}

std::string cluster_config::served_name() const {
  if (!model_name.empty())
    return model_name;
  auto path = std::filesystem::path{model}.lexically_normal();
  return path.has_filename() ? path.filename().string() : path.parent_path().filename().string();
}

std::optional<device_choice> parse_device_choice(std::string_view text) {
  if (text == "auto")
    return device_choice{};
  if (text == "cpu")
    return device_choice{device_choice::kind::cpu};
  auto result = device_choice{device_choice::kind::cuda};
  if (text == "cuda")
    return result;
  constexpr auto prefix = std::string_view{"cuda:"};
  if (!text.starts_with(prefix))
    return std::nullopt;
  text.remove_prefix(prefix.size());
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), result.index);
  return error == std::errc{} && end == text.data() + text.size() ? std::optional{result} : std::nullopt;
}

std::string to_string(const config_error& error) {
  return error.path + ": " + error.message;
}

cluster_config embedded_config(const embedded_options& options) {
  auto node = node_config{};
  node.name = embedded_node_name;
  node.host = options.host;
  node.http = options.http;
  node.roles = {node_role::gateway, node_role::conductor};
  if (options.prefill > 0) {
    node.roles.push_back(node_role::prefill);
    node.prefill_count = options.prefill;
  }
  node.roles.push_back(node_role::decode);
  if (options.shards > 0)
    node.roles.push_back(node_role::shard);
  node.decode_count = options.decode;
  node.shard_count = options.shards;
  node.kv_memory = options.kv_memory;
  node.shard_memory = options.shard_memory;
  auto config = cluster_config{};
  config.model = options.model;
  config.nodes.push_back(std::move(node));
  return config;
}

cluster_config embedded_config(const cluster_config& cluster) {
  auto options = embedded_options{};
  options.model = cluster.model;
  options.prefill = cluster.count(node_role::prefill);
  options.decode = cluster.count(node_role::decode);
  options.shards = cluster.count(node_role::shard);
  options.kv_memory = 0;
  options.shard_memory = 0;
  auto threads = uint32_t{0};
  auto pin_threads = false;
  auto device = node_config{}.device;
  auto has_gateway = false;
  for (const auto& node : cluster.nodes) {
    if (node.count(node_role::gateway) > 0 && !std::exchange(has_gateway, true)) {
      options.host = node.host;
      options.http = node.http;
    }
    options.kv_memory = std::max(options.kv_memory, node.kv_memory);
    options.shard_memory = std::max(options.shard_memory, node.shard_memory);
    threads = std::max(threads, node.threads);
    pin_threads |= node.pin_threads;
    if (node.device != node_config{}.device)
      device = node.device;
  }
  auto folded = cluster;
  folded.nodes = embedded_config(options).nodes;
  folded.nodes.front().threads = threads;
  folded.nodes.front().pin_threads = pin_threads;
  folded.nodes.front().device = device;
  return folded;
}

} // namespace perigee::actors
