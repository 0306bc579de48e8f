// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/gateway/byte_budget.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace perigee::gateway {

using header_list = std::vector<std::pair<std::string, std::string>>;

/// One request as it came over a connection, body complete and unchunked.
struct http_request {
  std::string method;
  std::string target; ///< path and query as sent
  bool http_1_0 = false;
  bool keep_alive = true;
  header_list headers; ///< as sent, in order
  std::string body;
  byte_lease body_lease; ///< what the body counts towards the bound on buffered bodies

  /// First header of that name (names are compared without case); nothing if there is none.
  std::optional<std::string_view> header(std::string_view name) const noexcept;
};

/// One answer. With `streamed` the body comes in pieces afterwards and `body` is empty.
struct http_response {
  uint16_t status = 200;
  std::string content_type = "application/json";
  std::string body;
  header_list headers; ///< besides Content-Type, framing, Date and Connection
  bool close = false;  ///< end the connection after it
};

/// How the body of an answer is delimited.
enum class framing : uint8_t {
  length,  ///< Content-Length
  chunked, ///< HTTP/1.1 streams
  close,   ///< HTTP/1.0 streams: the body ends with the connection
};

/// Status line and headers, with the empty line. `echoed` are headers taken over from the request.
std::string render_head(const http_response& response, framing how, bool keep_alive, const header_list& echoed);

/// `bytes` (not empty) as one chunk of a chunked body.
std::string render_chunk(std::string_view bytes);

/// X-Request-ID and X-Correlation-ID as the client sent them; `fallback_id` as X-Request-ID where it sent none, or one
/// that is longer than 256 bytes or not printable ASCII.
header_list echoed_headers(const http_request& request, const std::string& fallback_id);

/// Compares ASCII without case.
bool same_word(std::string_view a, std::string_view b) noexcept;

} // namespace perigee::gateway
