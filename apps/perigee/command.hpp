// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/node/cluster_config.hpp"
#include "apps/perigee/usage.hpp"

#include <CLI/App.hpp>

#include <functional>
#include <string>
#include <vector>

namespace perigee::cli {

/// What `serve` and `complete` use where no model is named, from the repository's root.
inline constexpr const char* default_model = "apps/demo/model";
inline constexpr const char* default_model_name = "perigee-demo";

/// What the chosen subcommand does; returns the exit code. May throw `usage_error` and `failure`.
using action = std::function<int()>;

// One a subcommand: declares its flags, and stores its action in `chosen` if the command line names it.
void add_serve(CLI::App& app, action& chosen);
void add_node(CLI::App& app, action& chosen);
void add_launch(CLI::App& app, action& chosen);
void add_status(CLI::App& app, action& chosen);
void add_complete(CLI::App& app, action& chosen);
void add_bench(CLI::App& app, action& chosen);
void add_doctor(CLI::App& app, action& chosen);
void add_sim(CLI::App& app, action& chosen);
void add_plan(CLI::App& app, action& chosen);
void add_policies(CLI::App& app, action& chosen);
void add_policy_host(CLI::App& app, action& chosen);

/// The policies of this process, as the cluster file may name them.
actors::known_policies offered_policies();

/// Loads what `--plugin` named; throws `usage_error`.
void load_plugins(const std::vector<std::string>& files);

/// The cluster file at `path`; throws `usage_error` with all that is wrong in it.
actors::cluster_config read_cluster_file(const std::string& path);

/// Bytes of a size such as "256MiB"; throws `usage_error` naming `flag`.
uint64_t parse_size(const std::string& text, const std::string& flag);

/// All lines of a list of config errors.
std::string lines_of(const std::vector<actors::config_error>& errors);

} // namespace perigee::cli
