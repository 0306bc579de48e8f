// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/cache/eviction.hpp"
#include "actors/policy/pipelining.hpp"
#include "actors/policy/policy_parameter.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace perigee::actors {

/// What a node may do. The order is the order in which people list them.
enum class node_role : uint8_t { gateway, conductor, prefill, decode, shard };

std::string_view to_string(node_role what) noexcept;

/// Service level objectives of one request.
struct slo_config {
  std::chrono::nanoseconds ttft = std::chrono::seconds{30};      ///< time to the first token
  std::chrono::nanoseconds tbt = std::chrono::milliseconds{100}; ///< time between tokens
};

/// Which prompts decode instances compute themselves: those with less to compute than both.
struct conditional_config {
  uint32_t uncached_tokens_max = 2048;
  uint32_t uncached_percent_max = 70; ///< of the prompt
};

/// Which prompts several prefill instances compute together, each some of the layers.
struct pipelining_config {
  uint32_t uncached_tokens_min = pipelining{}.uncached_tokens_min;
  uint32_t stages_max = pipelining{}.stages_max;
  uint32_t chunk_tokens = pipelining{}.chunk_tokens;
};

struct policy_config {
  std::string route = "perigee";
  std::string admission = "early";
  std::string local_order = "fifo";
  std::string coupled = "none";
  std::optional<conditional_config> conditional; ///< nothing: prefill instances compute all prompts
  std::optional<pipelining_config> cpp; ///< nothing: as the routing policy wants it
  std::string plugin;            ///< a shared library whose policies may be named as `route`; empty: none
  std::string remote;            ///< "HOST:PORT" of the policy host, with `route` "remote"
  std::string eviction = "lru";
  uint32_t copies_cool = copies_cool_default; ///< percent of a shard; 0: never
  parameter_values route_params; ///< of the routing policy, where they differ from its defaults
};

struct log_config {
  std::string level = "info";
  std::string file; ///< empty: standard error
};

/// One process of the cluster. Memory in bytes; ports 0 where the node has none.
struct node_config {
  std::string name;
  std::string host = "127.0.0.1";
  uint16_t control = 0; ///< TCP port of the link (control messages)
  uint16_t http = 0;    ///< TCP port of the gateway
  std::vector<node_role> roles;
  uint32_t prefill_count = 1; ///< instances, where the node has that role
  uint32_t decode_count = 1;
  std::string begin_as = "both"; ///< of twins: prefill, decode; both: instances of either kind have devices of their own
  uint32_t shard_count = 1;                    ///< more than one only in an embedded cluster
  uint64_t kv_memory = uint64_t{256} << 20;    ///< working pool of each instance
  uint64_t shard_memory = uint64_t{256} << 20; ///< pool of each shard
  uint32_t threads = 0;                        ///< compute threads of each instance; 0: the cores, divided among those that compute
  bool pin_threads = false;                    ///< compute threads stay on one processor each
  std::string device = "auto";                 ///< of its instances; see parse_device_choice

  /// How many of `what` run here: 0 without the role.
  uint32_t count(node_role what) const noexcept;
};

/// Where instances compute.
struct device_choice {
  enum class kind : uint8_t { automatic, cpu, cuda };
  kind what = kind::automatic;
  uint32_t index = 0; ///< of the CUDA device
};

/// Of "auto", "cpu", "cuda" or "cuda:N"; nothing for other texts.
std::optional<device_choice> parse_device_choice(std::string_view text);

/// A whole cluster file as plain values, with defaults filled in.
struct cluster_config {
  std::string model;      ///< directory of the model, relative to the working directory
  std::string model_name; ///< what clients call it; empty: the last part of `model`
  std::string weights = "stored"; ///< or "int8": matrices are rounded at load
  bool batch_invariant = false;   ///< bf16 too gives the same logits in any batch and chunk; CPU instances
  uint32_t block_tokens = 16;
  uint32_t prefill_chunk = 256; ///< tokens of a prompt computed at a time
  bool prefill_by_layer = true; ///< long prompts are computed layer by layer, where the device can
  uint32_t max_batch = 16;      ///< sequences in one decode step
  std::chrono::nanoseconds request_timeout = std::chrono::seconds{600};
  std::string provider = "tcp;ofi_rxm";
  std::string tap; ///< file that records every nondeterministic input; empty: no recording
  slo_config slo;
  policy_config policy;
  log_config log;
  std::vector<node_config> nodes;

  /// Instances or shards of one role in the whole cluster.
  uint32_t count(node_role what) const noexcept;
  /// The node called `name`; null where there is none.
  const node_config* find(std::string_view name) const noexcept;
  /// The name under which clients ask for the model.
  std::string served_name() const;
};

/// Host and port of "HOST:PORT", nothing where the text is none.
std::optional<std::pair<std::string, uint16_t>> parse_place(std::string_view text);

/// The policies this process offers, by name.
struct known_policies {
  std::vector<std::string> route;
  std::vector<std::string> admission;
  std::map<std::string, std::vector<parameter_info>> route_params = {}; ///< by routing policy
  /// Loads a plugin and adds its policies to this; returns what is wrong with it. Null: there are no plugins here.
  std::function<std::optional<std::string>(const std::string& file, known_policies& into)> load_plugin = {};
};

/// One thing that is wrong, and where: `perigee.nodes[1].kv-memory`. `path` is the file's name where the text itself is
/// malformed.
struct config_error {
  std::string path;
  std::string message;
  friend bool operator==(const config_error&, const config_error&) = default;
};

/// "path: message", one line.
std::string to_string(const config_error& error);

using loaded_config = std::variant<cluster_config, std::vector<config_error>>;

/// Reads a cluster file (CAF's configuration syntax) and validates it as a whole: everything that is wrong is reported
/// at once. Blocks on the file system; any thread.
loaded_config load_cluster_config(const std::string& path, const known_policies& known);

/// The same from text; `name` stands for the file in messages.
loaded_config parse_cluster_config(const std::string& text, const std::string& name, const known_policies& known);

/// Ranges, names, and how the parts fit together, for a configuration that came from anywhere. An embedded cluster is
/// one node that needs no control port.
std::vector<config_error> check_cluster_config(const cluster_config& config, const known_policies& known);

/// The name of the one node of an embedded cluster.
inline constexpr std::string_view embedded_node_name = "local";

/// What `serve` needs to know beside the defaults.
struct embedded_options {
  std::string model;
  std::string host = "127.0.0.1";
  uint16_t http = 8000;
  uint32_t prefill = 1;
  uint32_t decode = 1;
  uint32_t shards = 1; ///< 0: no prefix cache
  uint64_t kv_memory = node_config{}.kv_memory;
  uint64_t shard_memory = node_config{}.shard_memory;
};

/// A cluster of one node that holds every role; the caller may change further fields before it checks the result.
cluster_config embedded_config(const embedded_options& options);

/// The same cluster folded into one node: instances and shards add up, the first gateway's address is kept, memory per
/// instance and shard is the largest named, the device the last one named.
cluster_config embedded_config(const cluster_config& cluster);

} // namespace perigee::actors
