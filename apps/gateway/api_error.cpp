// SPDX-License-Identifier: Apache-2.0
#include "apps/gateway/api_error.hpp"

#include "kernels/model/utf8.hpp"

#include <algorithm>

namespace perigee::gateway {

namespace {

api_error make(uint16_t status, std::string_view type, std::string_view code, std::string_view message) {
  auto error = api_error{};
  error.http_status = status;
  error.type = type;
  error.code = code;
  error.message = message;
  return error;
}

} // namespace

api_error invalid_field(std::string_view param, std::string_view message) {
  auto error = invalid_request("invalid_value", message);
  error.param = param;
  return error;
}

api_error invalid_request(std::string_view code, std::string_view message) {
  return make(400, "invalid_request_error", code, message);
}

api_error unsupported_field(std::string_view param, std::string_view message) {
  auto error = invalid_request("unsupported_parameter", message);
  error.param = param;
  return error;
}

api_error not_found(std::string_view code, std::string_view message) {
  return make(404, "invalid_request_error", code, message);
}

api_error overloaded(std::string_view message, uint32_t retry_after_s) {
  auto error = make(429, "rate_limit_error", "overloaded", message);
  error.retry_after_s = retry_after_s;
  return error;
}

api_error unavailable(std::string_view message, uint32_t retry_after_s) {
  auto error = make(503, "service_unavailable_error", "unavailable", message);
  error.retry_after_s = retry_after_s;
  return error;
}

api_error timed_out(std::string_view message) {
  return make(504, "timeout_error", "timeout", message);
}

api_error internal_error(std::string_view message) {
  return make(500, "server_error", "internal_error", message);
}

std::string clipped(std::string_view text) {
  constexpr auto bytes_max = size_t{64};
  auto cut = text.size() > bytes_max;
  auto end = cut ? bytes_max : text.size();
  while (cut && end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0u) == 0x80u)
    --end; // not in the middle of a character
  auto result = kernels::utf8::lossy(text.substr(0, end));
  std::replace_if(
    result.begin(), result.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
  return cut ? result + "..." : result;
}

std::string shown(std::string_view text) {
  return '"' + clipped(text) + '"';
}

} // namespace perigee::gateway
