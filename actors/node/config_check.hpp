// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/node/config_keys.hpp"

#include <fmt/format.h>

#include <string>
#include <vector>

namespace perigee::actors {

/// "found 70000, allowed 1 to 65535"; `Field` tells how the bounds of `key` are written.
template <class Field, class Section>
std::string range_message(const std::string& found, const config_key<Section>& key) {
  if constexpr (std::is_same_v<Field, std::chrono::nanoseconds>)
    return fmt::format("found {}, allowed {} to {}", found, format_duration(std::chrono::nanoseconds{key.min}),
                       format_duration(std::chrono::nanoseconds{key.max}));
  else if constexpr (std::is_same_v<Field, uint64_t>)
    return fmt::format("found {}, allowed {} to {}", found, format_bytes(key.min), format_bytes(key.max));
  else
    return fmt::format("found {}, allowed {} to {}", found, key.min, key.max);
}

/// Path of node `index` in messages: "perigee.nodes[1]".
std::string node_path(size_t index);

} // namespace perigee::actors
