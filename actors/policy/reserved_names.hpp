// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace perigee {

/// Stands as `route` in the cluster file where another process decides; no policy is called so.
inline constexpr const char* remote_policy_name = "remote";

} // namespace perigee
