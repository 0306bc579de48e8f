// SPDX-License-Identifier: Apache-2.0
#include "actors/node/config_keys.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

namespace perigee::actors {

namespace {

constexpr uint64_t kib = 1024;
constexpr uint64_t tib = kib * kib * kib * kib;
constexpr uint64_t ms = 1'000'000;
constexpr uint64_t second = 1'000 * ms;
constexpr uint64_t day = 86'400 * second;
constexpr uint64_t port_max = std::numeric_limits<uint16_t>::max();

using cluster = cluster_config;
constexpr auto cluster_keys = std::array{
  config_key<cluster>{"model", &cluster::model,
                      "directory of the model (Hugging Face layout), from the working directory", true},
  config_key<cluster>{"model-name", &cluster::model_name, "what clients call it; by default the last part of `model`"},
  config_key<cluster>{"weights", &cluster::weights, "as the files hold them, or matrices rounded to int8 at load", false, 0,
                      0, "stored, int8"},
  config_key<cluster>{"batch-invariant", &cluster::batch_invariant,
                      "bf16 too gives the same logits in any batch and chunk, more slowly; not on a CUDA device"},
  config_key<cluster>{"block-tokens", &cluster::block_tokens, "tokens in one KV block", false, 1, 1024},
  config_key<cluster>{"prefill-chunk", &cluster::prefill_chunk, "tokens of a prompt computed at a time", false, 1,
                      65'536},
  config_key<cluster>{"prefill-by-layer", &cluster::prefill_by_layer,
                      "prompts of several chunks are computed layer by layer, in a few layers' memory"},
  config_key<cluster>{"max-batch", &cluster::max_batch, "sequences in one decode step", false, 1, 1024},
  config_key<cluster>{"request-timeout", &cluster::request_timeout, "after this a request fails, whatever it waits for",
                      false, 100 * ms, day},
  config_key<cluster>{"provider", &cluster::provider, "libfabric provider that moves KV between nodes"},
  config_key<cluster>{"tap", &cluster::tap,
                      "file that records every nondeterministic input of the actors; empty: none"},
};

constexpr auto slo_keys = std::array{
  config_key<slo_config>{"ttft", &slo_config::ttft, "time to the first token", false, ms, day},
  config_key<slo_config>{"tbt", &slo_config::tbt, "time between tokens", false, ms, day},
};

constexpr auto policy_keys = std::array{
  config_key<policy_config>{"route", &policy_config::route, "where a request runs (`perigee policies` lists the names)"},
  config_key<policy_config>{"admission", &policy_config::admission,
                            "whether it is accepted (`perigee policies` lists the names)"},
  config_key<policy_config>{"local-order", &policy_config::local_order,
                            "which job a prefill instance computes next", false, 0, 0, "fifo, shortest-first"},
  config_key<policy_config>{"coupled", &policy_config::coupled,
                            "not `none`: a cluster without prefill instances, whose decode instances compute prompts "
                            "before they go on decoding, or in chunks between steps",
                            false, 0, 0, "none, prefill-first, chunked"},
  config_key<policy_config>{"plugin", &policy_config::plugin,
                            "shared library whose policies `route` may name, from the working directory; on every machine"},
  config_key<policy_config>{"remote", &policy_config::remote,
                            "HOST:PORT of a `perigee policy-host`, with `route = \"remote\"`"},
  config_key<policy_config>{"eviction", &policy_config::eviction, "which block a cache shard gives up", false, 0, 0,
                            "lru, lfu, length-aware, reuse"},
  config_key<policy_config>{"copies-cool", &policy_config::copies_cool,
                            "a block that another node has copied goes before all others when so many percent of the "
                            "shard were used since it was; 0: never", false, 0, 1000},
};

constexpr auto conditional_keys = std::array{
  config_key<conditional_config>{"max-uncached-tokens", &conditional_config::uncached_tokens_max,
                                 "a decode instance computes a prompt itself that has fewer uncached tokens", false, 1,
                                 1'048'576},
  config_key<conditional_config>{"max-uncached-percent", &conditional_config::uncached_percent_max,
                                 "and less than this share of it uncached", false, 1, 101},
};

constexpr auto pipelining_keys = std::array{
  config_key<pipelining_config>{"min-uncached-tokens", &pipelining_config::uncached_tokens_min,
                                "prompts with at least so many uncached tokens", false, 1, 1'073'741'824},
  config_key<pipelining_config>{"max-stages", &pipelining_config::stages_max,
                                "the most prefill instances that share a prompt's layers; 1: none do", false, 1, 8},
  config_key<pipelining_config>{"chunk-tokens", &pipelining_config::chunk_tokens,
                                "tokens that go through a stage at once, in whole blocks", false, 1, 1'048'576},
};

constexpr auto log_keys = std::array{
  config_key<log_config>{"level", &log_config::level, "whether news of the cluster are written", false, 0, 0,
                         "info, quiet"},
  config_key<log_config>{"file", &log_config::file, "where to; empty: standard error"},
};

using node = node_config;
constexpr auto node_keys = std::array{
  config_key<node>{"name", &node::name, "unique; letters, digits, `-` and `_`", true},
  config_key<node>{"host", &node::host, "address the other nodes reach it under; also what it listens on"},
  config_key<node>{"control", &node::control, "TCP port of the link between nodes; needed when there are several",
                   false, 1, port_max},
  config_key<node>{"http", &node::http, "TCP port of the gateway; needed with that role", false, 1, port_max},
  config_key<node>{"roles", &node::roles, "what the node does: `gateway`, `conductor`, `prefill`, `decode`, `shard`",
                   true},
  config_key<node>{"prefill-count", &node::prefill_count, "prefill instances, with that role", false, 1, 64},
  config_key<node>{"decode-count", &node::decode_count, "decode instances, with that role", false, 1, 64},
  config_key<node>{"begin-as", &node::begin_as,
                   "with both roles: `both` work at once; else a prefill and a decode instance share a device, begin as this, and "
                   "policy `perigee` says which is used", false, 0, 0, "both, prefill, decode"},
  config_key<node>{"kv-memory", &node::kv_memory, "working pool of each instance", false, 4 * kib, 64 * tib},
  config_key<node>{"shard-memory", &node::shard_memory, "pool of the cache shard", false, 4 * kib, 64 * tib},
  config_key<node>{"threads", &node::threads, "compute threads of each instance; 0: all cores, which those that compute at the same time divide",
                   false, 0, 1024},
  config_key<node>{"pin-threads", &node::pin_threads,
                   "binds compute threads to processors, neighbouring ones for an instance"},
  config_key<node>{"device", &node::device,
                   "what its instances compute on: `cpu`, `cuda`, `cuda:N`, or `auto`: the first CUDA device, where there is "
                   "one that can run the model"},
};

constexpr auto roles_in_order =
  std::array{node_role::gateway, node_role::conductor, node_role::prefill, node_role::decode, node_role::shard};

struct unit {
  std::string_view name;
  uint64_t size;
};
constexpr auto byte_units =
  std::array{unit{"TiB", tib}, unit{"GiB", kib* kib* kib}, unit{"MiB", kib* kib}, unit{"KiB", kib}, unit{"B", 1}};
constexpr auto time_units = std::array{unit{"h", 3600 * second}, unit{"min", 60 * second}, unit{"s", second},
                                       unit{"ms", ms},           unit{"us", 1000},         unit{"ns", 1}};

std::string in_largest_unit(uint64_t value, std::span<const unit> units) {
  for (const auto& [name, size] : units)
    if (value % size == 0 && value != 0)
      return fmt::format("{}{}", value / size, name);
  return fmt::format("0{}", units.back().name);
}

/// Three cells of one row: type, default, range.
struct cells {
  std::string type;
  std::string fallback;
  std::string range;
};

template <class T>
cells describe(const T& value, uint64_t min, uint64_t max, std::string_view choices) {
  if constexpr (std::is_same_v<T, std::string>)
    return {"text", value.empty() ? "" : fmt::format("`\"{}\"`", value), std::string{choices}};
  else if constexpr (std::is_same_v<T, bool>)
    return {"true or false", value ? "`true`" : "`false`", ""};
  else if constexpr (std::is_same_v<T, std::vector<node_role>>)
    return {"list of texts", "", ""};
  else if constexpr (std::is_same_v<T, std::chrono::nanoseconds>)
    return {"duration", fmt::format("`{}`", format_duration(value)),
            fmt::format("{} to {}", format_duration(std::chrono::nanoseconds{min}),
                        format_duration(std::chrono::nanoseconds{max}))};
  else if constexpr (std::is_same_v<T, uint64_t>)
    return {"size", fmt::format("`\"{}\"`", format_bytes(value)),
            fmt::format("{} to {}", format_bytes(min), format_bytes(max))};
  else if constexpr (std::is_same_v<T, uint16_t>)
    return {"port", "", fmt::format("{} to {}", min, max)};
  else
    return {"number", fmt::format("`{}`", value), fmt::format("{} to {}", min, max)};
}

template <class Section>
void add_rows(std::string& out, std::string_view path) {
  auto defaults = Section{};
  for (const auto& key : config_keys<Section>()) {
    auto row =
      std::visit([&](auto field) { return describe(defaults.*field, key.min, key.max, key.choices); }, key.field);
    auto fallback = key.required ? "required" : row.fallback;
    out += fmt::format("| `{}.{}` | {} | {} | {} | {} |\n", path, key.name, row.type, fallback, row.range, key.doc);
  }
}

} // namespace

template <>
std::span<const config_key<cluster_config>> config_keys<cluster_config>() {
  return cluster_keys;
}

template <>
std::span<const config_key<slo_config>> config_keys<slo_config>() {
  return slo_keys;
}

template <>
std::span<const config_key<policy_config>> config_keys<policy_config>() {
  return policy_keys;
}

template <>
std::span<const config_key<conditional_config>> config_keys<conditional_config>() {
  return conditional_keys;
}

template <>
std::span<const config_key<pipelining_config>> config_keys<pipelining_config>() {
  return pipelining_keys;
}

template <>
std::span<const config_key<log_config>> config_keys<log_config>() {
  return log_keys;
}

template <>
std::span<const config_key<node_config>> config_keys<node_config>() {
  return node_keys;
}

std::string format_bytes(uint64_t bytes) {
  return in_largest_unit(bytes, byte_units);
}

std::optional<uint64_t> parse_bytes(std::string_view text) {
  auto number = uint64_t{0};
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (ec != std::errc{})
    return std::nullopt;
  auto rest = text.substr(static_cast<size_t>(end - text.data()));
  if (rest.starts_with(' '))
    rest.remove_prefix(1);
  if (rest.empty())
    rest = "B";
  for (const auto& [name, size] : byte_units)
    if (name == rest && number <= std::numeric_limits<uint64_t>::max() / size)
      return number * size;
  return std::nullopt;
}

std::string format_duration(std::chrono::nanoseconds duration) {
  if (duration.count() < 0)
    return fmt::format("-{}", in_largest_unit(static_cast<uint64_t>(-duration.count()), time_units));
  return in_largest_unit(static_cast<uint64_t>(duration.count()), time_units);
}

std::span<const node_role> all_node_roles() {
  return roles_in_order;
}

std::string_view to_string(node_role what) noexcept {
  switch (what) {
  case node_role::gateway: return "gateway";
  case node_role::conductor: return "conductor";
  case node_role::prefill: return "prefill";
  case node_role::decode: return "decode";
  case node_role::shard: return "shard";
  }
  return "unknown";
}

std::optional<node_role> parse_node_role(std::string_view name) {
  auto found = std::ranges::find_if(roles_in_order, [&](node_role r) { return to_string(r) == name; });
  return found == roles_in_order.end() ? std::nullopt : std::optional{*found};
}

std::string config_keys_markdown() {
  auto out = std::string{"| key | type | default | range | meaning |\n|---|---|---|---|---|\n"};
  add_rows<cluster_config>(out, "perigee");
  add_rows<slo_config>(out, "perigee.slo");
  add_rows<policy_config>(out, "perigee.policy");
  out += "| `perigee.policy.route-params` | section of numbers |  |  | parameters of the routing policy by name "
         "(`perigee policies` lists them) |\n";
  out += "| `perigee.policy.conditional` | section |  |  | given, even empty: decode instances compute short uncached "
         "rests of prompts themselves |\n";
  add_rows<conditional_config>(out, "perigee.policy.conditional");
  out += "| `perigee.policy.cpp` | section |  |  | given, even empty: idle prefill instances share the layers of long "
         "prompts; absent: where the routing policy wants it (`perigee` does) |\n";
  add_rows<pipelining_config>(out, "perigee.policy.cpp");
  add_rows<log_config>(out, "perigee.log");
  add_rows<node_config>(out, "perigee.nodes[]");
  return out;
}

} // namespace perigee::actors
