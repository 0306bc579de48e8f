// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/node/cluster_config.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace perigee::actors {

/// A cluster file made safe for CAF's reader, which drops keys with dots, lets the last of two equal keys win, and
/// takes a file that ends inside a bracket for an empty one.
struct scanned_config {
  std::string text;                 ///< dotted keys in quotes, so that the walk finds and reports them; same lines
  std::vector<config_error> errors; ///< repeated keys and open brackets
};

/// `name` stands for the file in messages.
scanned_config scan_config_text(std::string_view text, const std::string& name);

} // namespace perigee::actors
