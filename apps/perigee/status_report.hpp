// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json/value.hpp>

#include <string>

namespace perigee::cli {

/// What `GET /cluster` answered (docs/operations.md has the format), as tables for people. Parts that are absent are
/// left out.
std::string render_cluster(const boost::json::value& cluster);

} // namespace perigee::cli
