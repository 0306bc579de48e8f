// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace perigee::gateway {

enum class route : uint8_t {
  models,     ///< /v1/models
  model,      ///< /v1/models/ID
  completion, ///< /v1/completions
  chat,       ///< /v1/chat/completions
  health,     ///< can it serve?
  live,       ///< does it run?
  metrics,
  cluster,
  request,   ///< /cluster/requests/ID
  dashboard, ///< /
};

struct route_match {
  route where;
  std::string_view name;  ///< the path with a placeholder for its variable part; for metrics
  std::string_view allow; ///< for 405 and OPTIONS
  std::string argument;   ///< ID, percent-decoded
};

/// What stands at the path of `target` (a query is left aside); nothing for unknown paths and malformed escapes.
std::optional<route_match> match_route(std::string_view target);

} // namespace perigee::gateway
