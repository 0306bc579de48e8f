// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json/value.hpp>

#include <optional>
#include <string>

namespace perigee::cli {

/// What `GET /cluster` answered (docs/operations.md has the format), as tables for people. Parts that are absent are
/// left out.
std::string render_cluster(const boost::json::value& cluster);

/// The line for a gateway that answered with `body` because its node is still loading; nothing if it said something else.
std::optional<std::string> render_loading(const std::string& body);

} // namespace perigee::cli
