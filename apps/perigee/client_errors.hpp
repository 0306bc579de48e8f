// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/client_messages.hpp"
#include "apps/gateway/api_error.hpp"

namespace perigee::cli {

/// What an HTTP client is told when its request failed inside the cluster.
gateway::api_error to_api_error(const client_error& error);

} // namespace perigee::cli
