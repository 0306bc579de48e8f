// SPDX-License-Identifier: Apache-2.0
#include "apps/gateway/http_types.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <iterator>

namespace perigee::gateway {

namespace {

std::string_view reason_phrase(uint16_t status) noexcept {
  switch (status) {
  case 200: return "OK";
  case 204: return "No Content";
  case 400: return "Bad Request";
  case 404: return "Not Found";
  case 405: return "Method Not Allowed";
  case 408: return "Request Timeout";
  case 413: return "Content Too Large";
  case 415: return "Unsupported Media Type";
  case 417: return "Expectation Failed";
  case 429: return "Too Many Requests";
  case 431: return "Request Header Fields Too Large";
  case 500: return "Internal Server Error";
  case 503: return "Service Unavailable";
  case 504: return "Gateway Timeout";
  default: return "Status";
  }
}

char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

/// RFC 9110 §5.6.7; independent of the locale.
std::string http_date(std::time_t time) {
  constexpr std::string_view days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  constexpr std::string_view months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  auto parts = std::tm{};
  gmtime_r(&time, &parts);
  return fmt::format("{}, {:02} {} {} {:02}:{:02}:{:02} GMT", days[parts.tm_wday], parts.tm_mday, months[parts.tm_mon],
                     parts.tm_year + 1900, parts.tm_hour, parts.tm_min, parts.tm_sec);
}

bool echoable(std::string_view value) noexcept {
  return !value.empty() && value.size() <= 256
         && std::all_of(value.begin(), value.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
}

} // namespace

bool same_word(std::string_view a, std::string_view b) noexcept {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return lower(x) == lower(y); });
}

std::optional<std::string_view> http_request::header(std::string_view name) const noexcept {
  for (const auto& [key, value] : headers)
    if (same_word(key, name))
      return value;
  return std::nullopt;
}

std::string render_head(const http_response& response, framing how, bool keep_alive, const header_list& echoed) {
  auto out = fmt::format("HTTP/1.1 {} {}\r\nDate: {}\r\n", response.status, reason_phrase(response.status),
                         http_date(std::time(nullptr)));
  auto line = [&out](std::string_view name, std::string_view value) {
    fmt::format_to(std::back_inserter(out), "{}: {}\r\n", name, value);
  };
  if (!response.content_type.empty())
    line("Content-Type", response.content_type);
  if (how == framing::chunked)
    line("Transfer-Encoding", "chunked");
  else if (how == framing::length && response.status != 204)
    line("Content-Length", std::to_string(response.body.size()));
  line("Connection", keep_alive ? "keep-alive" : "close");
  for (const auto& [name, value] : response.headers)
    line(name, value);
  for (const auto& [name, value] : echoed)
    line(name, value);
  out += "\r\n";
  return out;
}

std::string render_chunk(std::string_view bytes) {
  return fmt::format("{:x}\r\n{}\r\n", bytes.size(), bytes);
}

header_list echoed_headers(const http_request& request, const std::string& fallback_id) {
  auto id = request.header("X-Request-ID");
  auto result = header_list{{"X-Request-ID", id && echoable(*id) ? std::string{*id} : fallback_id}};
  if (auto correlation = request.header("X-Correlation-ID"); correlation && echoable(*correlation))
    result.emplace_back("X-Correlation-ID", *correlation);
  return result;
}

} // namespace perigee::gateway
