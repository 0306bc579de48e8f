// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace perigee::cli {

inline constexpr int exit_success = 0;
inline constexpr int exit_failure = 1; ///< it was asked for correctly and did not work
inline constexpr int exit_usage = 2;   ///< a flag, or a key of the cluster file, is wrong

/// A mistake in what the user asked for. Each line of `what()` names one flag or key.
class usage_error : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct endpoint {
  std::string host;
  uint16_t port = 0;
};

/// Host and port of "HOST:PORT", "[::1]:8000" or "8000" (then the host is `default_host`). Throws `usage_error` naming
/// `flag`.
endpoint parse_endpoint(const std::string& text, const std::string& default_host, const std::string& flag);

} // namespace perigee::cli
