// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace perigee::cli {

struct http_url {
  std::string host;
  uint16_t port = 80;
  std::string path = "/"; ///< what stands behind host and port
};

/// Parts of "http://HOST[:PORT][/PATH]"; the scheme may be left out. Throws `usage_error`.
http_url parse_url(const std::string& text);

struct http_response {
  int status = 0;
  std::string body;
};

/// One GET over a connection of its own, complete within `timeout`. Blocks the caller. Throws `failure`: `peer_lost` if
/// nobody listens there, `timed_out`, `corrupt` if the answer is not HTTP.
http_response http_get(const http_url& url, std::chrono::milliseconds timeout);

} // namespace perigee::cli
