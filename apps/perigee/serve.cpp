// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/command.hpp"
#include "apps/perigee/run_node.hpp"

#include <fmt/format.h>

#include <optional>

namespace perigee::cli {

namespace {

using actors::cluster_config;
using actors::node_role;

/// The flags that were given; what is absent comes from the cluster file or the defaults.
struct serve_options {
  std::string config;
  std::optional<std::string> model;
  std::optional<std::string> model_name;
  std::optional<std::string> listen;
  std::optional<uint32_t> prefill;
  std::optional<uint32_t> decode;
  std::optional<uint32_t> shards;
  std::optional<std::string> kv_memory;
  std::optional<std::string> shard_memory;
  std::optional<uint32_t> block_tokens;
  std::optional<uint32_t> prefill_chunk;
  std::optional<uint32_t> max_batch;
  std::optional<uint32_t> threads;
  std::optional<std::string> device;
  std::optional<std::string> weights;
  bool pin_threads = false;
  bool batch_invariant = false;
  std::optional<std::string> route;
  std::optional<std::string> plugin;
  std::optional<std::string> remote;
  std::optional<std::string> admission;
  std::optional<std::string> log_level;
  std::optional<std::string> tap;
};

template <class T>
void replace(T& value, const std::optional<T>& flag) {
  value = flag.value_or(value);
}

void replace_bytes(uint64_t& value, const std::optional<std::string>& flag, const char* name) {
  if (flag)
    value = parse_size(*flag, name);
}

cluster_config starting_point(const serve_options& options) {
  if (!options.config.empty())
    return actors::embedded_config(read_cluster_file(options.config));
  auto defaults = actors::embedded_options{};
  defaults.model = default_model;
  auto config = actors::embedded_config(defaults);
  if (!options.model)
    config.model_name = default_model_name;
  return config;
}

void apply_flags(cluster_config& config, const serve_options& options) {
  auto& node = config.nodes.front();
  replace(config.model, options.model);
  replace(config.model_name, options.model_name);
  replace(config.block_tokens, options.block_tokens);
  replace(config.prefill_chunk, options.prefill_chunk);
  replace(config.max_batch, options.max_batch);
  replace(config.policy.route, options.route);
  replace(config.policy.plugin, options.plugin);
  replace(config.policy.remote, options.remote);
  replace(config.policy.admission, options.admission);
  replace(config.log.level, options.log_level);
  replace(config.tap, options.tap);
  replace(node.threads, options.threads);
  node.pin_threads |= options.pin_threads;
  replace(node.device, options.device);
  replace(config.weights, options.weights);
  config.batch_invariant |= options.batch_invariant;
  replace(node.prefill_count, options.prefill);
  replace(node.decode_count, options.decode);
  replace_bytes(node.kv_memory, options.kv_memory, "--kv-memory");
  replace_bytes(node.shard_memory, options.shard_memory, "--shard-memory");
  if (options.listen) {
    auto at = parse_endpoint(*options.listen, node.host, "--listen");
    node.host = at.host;
    node.http = at.port;
  }
  if (!options.shards)
    return;
  std::erase(node.roles, node_role::shard);
  if (*options.shards > 0)
    node.roles.push_back(node_role::shard);
  node.shard_count = *options.shards;
}

/// "perigee.nodes[0].prefill-count" is "--prefill" to those who gave flags.
std::string flag_of(const std::string& path) {
  auto name = path.substr(path.rfind('.') + 1);
  if (name.ends_with("-count"))
    name.resize(name.size() - std::string_view{"-count"}.size());
  return "--" + (name == "level" ? "log-level" : name);
}

void check(const cluster_config& config) {
  auto errors = actors::check_cluster_config(config, offered_policies());
  for (auto& error : errors)
    error.path = flag_of(error.path);
  if (!errors.empty())
    throw usage_error(lines_of(errors));
}

int run(const serve_options& options) {
  if (options.plugin)
    load_plugins({*options.plugin});
  auto config = starting_point(options);
  apply_flags(config, options);
  check(config);
  const auto& node = config.nodes.front();
  auto how = run_options{};
  how.announcement =
    fmt::format("perigee: serving {} on http://{}:{} (prefill {}, decode {}, shards {}, in one process); Ctrl-C drains",
                config.served_name(), node.host, node.http, node.count(node_role::prefill),
                node.count(node_role::decode), node.count(node_role::shard));
  return run_node(config, node.name, how);
}

} // namespace

void add_serve(CLI::App& app, action& chosen) {
  auto options = std::make_shared<serve_options>();
  auto* sub = app.add_subcommand("serve", "Serves a model over HTTP: a whole cluster in one process.");
  sub->add_option("CONFIG", options->config, "cluster file whose nodes are folded into this process");
  sub->add_option("--model", options->model, fmt::format("directory of the model [{}]", default_model));
  sub->add_option("--model-name", options->model_name, "what clients call it [last part of the directory]");
  sub->add_option("--listen", options->listen, "HOST:PORT of the HTTP server [127.0.0.1:8000]");
  sub->add_option("--prefill", options->prefill, "prefill instances [1]")->check(CLI::Range(1u, 64u));
  sub->add_option("--decode", options->decode, "decode instances [1]")->check(CLI::Range(1u, 64u));
  sub->add_option("--shards", options->shards, "cache shards; 0: no prefix cache [1]")->check(CLI::Range(0u, 64u));
  sub->add_option("--kv-memory", options->kv_memory, "working pool of each instance [256MiB]");
  sub->add_option("--shard-memory", options->shard_memory, "pool of each shard [256MiB]");
  sub->add_option("--block-tokens", options->block_tokens, "tokens in one KV block [16]");
  sub->add_option("--prefill-chunk", options->prefill_chunk, "tokens of a prompt computed at a time [256]");
  sub->add_option("--max-batch", options->max_batch, "sequences in one decode step [16]");
  sub->add_option("--threads", options->threads,
                  "compute threads of each instance [all cores, divided among those that compute]");
  sub->add_flag("--pin-threads", options->pin_threads, "binds compute threads to processors");
  sub->add_option("--device", options->device, "what instances compute on: auto, cpu, cuda, cuda:N [auto]");
  sub->add_option("--weights", options->weights, "stored, or int8: matrices are rounded at load [stored]");
  sub->add_flag("--batch-invariant", options->batch_invariant,
                "bf16 too gives the same logits in any batch and chunk; on the CPU");
  sub->add_option("--route", options->route, "routing policy [perigee]");
  sub->add_option("--plugin", options->plugin, "a shared library with more routing policies");
  sub->add_option("--remote", options->remote, "HOST:PORT of a policy host, with --route remote");
  sub->add_option("--admission", options->admission, "admission policy [early]");
  sub->add_option("--log-level", options->log_level, "info or quiet [info]");
  sub->add_option("--tap", options->tap, "record every nondeterministic input into this file");
  sub->footer(
    "A flag overrides the cluster file. Ctrl-C drains: requests in flight finish; a second one stops at once.\n\n"
    "Examples:\n"
    "  perigee serve\n"
    "  perigee serve --model /models/llama-3.2-1b --listen 0.0.0.0:8080\n"
    "  perigee serve --prefill 2 --decode 2 --shards 2");
  sub->callback([&chosen, options] { chosen = [options] { return run(*options); }; });
}

} // namespace perigee::cli
