// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace perigee::gateway {

/// The page at `/`: it asks /cluster, /metrics and /cluster/requests/ID of the gateway it came from every two seconds, and
/// nothing of anybody else.
std::string_view dashboard_page() noexcept;

/// What the page may do, as Content-Security-Policy says it.
std::string_view dashboard_policy() noexcept;

} // namespace perigee::gateway
