// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/perigee/cluster_view.hpp"
#include "apps/perigee/request_log.hpp"

#include <span>
#include <string>

namespace perigee::cli {

/// The body of `GET /cluster` (docs/operations.md has the format). `recent` are prompts whose placement is known,
/// newest first.
std::string cluster_json(const cluster_view& view, std::span<const request_record> recent);

/// The body of `GET /cluster/requests/ID`: everything that went into one decision. The record has one.
std::string decision_json(const request_record& record);

} // namespace perigee::cli
