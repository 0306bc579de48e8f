// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/usage.hpp"

#include <fmt/format.h>

#include <charconv>

namespace perigee::cli {

endpoint parse_endpoint(const std::string& text, const std::string& default_host, const std::string& flag) {
  auto colon = text.rfind(':');
  auto host = colon == std::string::npos ? default_host : text.substr(0, colon);
  auto port_text = colon == std::string::npos ? text : text.substr(colon + 1);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  auto port = uint16_t{0};
  auto [end, ec] = std::from_chars(port_text.data(), port_text.data() + port_text.size(), port);
  if (ec != std::errc{} || end != port_text.data() + port_text.size() || port == 0 || host.empty())
    throw usage_error(
      fmt::format("{}: found \"{}\", expected HOST:PORT such as 127.0.0.1:8000 (port 1 to 65535)", flag, text));
  return {host, port};
}

} // namespace perigee::cli
