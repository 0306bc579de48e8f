// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/run_node.hpp"

#include "actors/node/runtime.hpp"
#include "apps/perigee/command.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>

namespace perigee::cli {

int run_node(const actors::cluster_config& config, const std::string& name, const run_options& how) {
  if (!std::filesystem::is_directory(config.model))
    throw usage_error(
      fmt::format("model: \"{}\" is not a directory; name one with config.json, *.safetensors and tokenizer.json "
                  "(relative to the working directory)",
                  config.model));
  hold_stop_signals(); // before the runtime starts threads, which inherit it
  auto runtime = actors::node_runtime{config, name, {}};
  auto watcher = stop_watcher{how.stop, [&] { runtime.drain(); }};
  runtime.start();
  std::printf("%s\n", how.announcement.c_str());
  std::fflush(stdout);
  return runtime.run_until_stopped();
}

} // namespace perigee::cli
