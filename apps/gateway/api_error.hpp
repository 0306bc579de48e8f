// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace perigee::gateway {

/// An error as OpenAI's clients know it. `type` and `code` are machine-readable, `message` is one clear sentence for a
/// person, `param` names the field at fault (empty where none is).
struct api_error {
  uint16_t http_status = 500;
  std::string type;
  std::string code;
  std::string message;
  std::string param;
  std::optional<uint32_t> retry_after_s; ///< sent as `Retry-After`

  friend bool operator==(const api_error&, const api_error&) = default;
};

/// 400: the field `param` holds something that cannot be served.
api_error invalid_field(std::string_view param, std::string_view message);
/// 400 about the request as a whole; `code` tells why.
api_error invalid_request(std::string_view code, std::string_view message);
/// 400: `param` is a field this server does not have.
api_error unsupported_field(std::string_view param, std::string_view message);
/// 404 for a model, path or request id.
api_error not_found(std::string_view code, std::string_view message);
/// 429: refused now, welcome again in `retry_after_s`.
api_error overloaded(std::string_view message, uint32_t retry_after_s);
/// 503: draining, or not able to serve at all.
api_error unavailable(std::string_view message, uint32_t retry_after_s);
/// 504: the deadline passed first.
api_error timed_out(std::string_view message);
/// 500: a defect of this server.
api_error internal_error(std::string_view message);

/// What a client wrote, fit for a message: at most 64 bytes of it, cut at a character, control characters as spaces,
/// bytes that are not UTF-8 as U+FFFD.
std::string clipped(std::string_view text);
/// `clipped`, in double quotes.
std::string shown(std::string_view text);

} // namespace perigee::gateway
