// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/routing_messages.hpp"

#include <boost/json/object.hpp>

#include <string>

namespace perigee::cli {

/// "prefill-3".
std::string instance_name(role kind, uint32_t index);

/// What a policy was asked: lengths, predictions, and the instances there were.
boost::json::object query_json(const route_query& query);

/// What it answered, with the best offers, every term of their cost, and the version of the view it used.
boost::json::object route_json(const route_decision& decision);

} // namespace perigee::cli
