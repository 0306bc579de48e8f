// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/node/cluster_config.hpp"
#include "apps/perigee/stop_watcher.hpp"

#include <string>

namespace perigee::cli {

struct run_options {
  stop_options stop;
  std::string announcement; ///< printed on standard output, as a line, once the node serves
};

/// Runs the node called `name` of a checked configuration until it is drained. Returns the exit code. The calling
/// thread must be the process's only one. Throws `failure` if the node cannot start, `usage_error` if the model is not
/// where the key says.
int run_node(const actors::cluster_config& config, const std::string& name, const run_options& how);

} // namespace perigee::cli
