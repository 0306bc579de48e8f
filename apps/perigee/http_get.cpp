// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/http_get.hpp"

#include "apps/perigee/unique_fd.hpp"
#include "apps/perigee/usage.hpp"
#include "transport/base/status.hpp"

#include <fmt/format.h>

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <string_view>

namespace perigee::cli {

namespace {

using std::chrono::steady_clock;

constexpr size_t answer_bytes_max = size_t{64} << 20;

/// A socket with one deadline for all that is done with it.
class connection {
public:
  connection(const http_url& url, std::chrono::milliseconds timeout)
    : where_(fmt::format("{}:{}", url.host, url.port)), end_(steady_clock::now() + timeout) {
    connect(url);
  }

  void send(std::string_view text) {
    while (!text.empty()) {
      wait(POLLOUT);
      auto sent = ::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno != EAGAIN)
        lost(std::strerror(errno));
      text.remove_prefix(sent < 0 ? 0 : static_cast<size_t>(sent));
    }
  }

  std::string read_to_end() {
    auto all = std::string{};
    char buffer[16'384];
    while (all.size() < answer_bytes_max) {
      wait(POLLIN);
      auto got = ::recv(socket_.get(), buffer, sizeof buffer, 0);
      if (got == 0)
        return all;
      if (got < 0 && errno != EAGAIN)
        lost(std::strerror(errno));
      all.append(buffer, got < 0 ? 0 : static_cast<size_t>(got));
    }
    throw failure(errc::corrupt, fmt::format("{}: answer of more than {} bytes", where_, answer_bytes_max));
  }

private:
  void connect(const http_url& url) {
    auto hints = addrinfo{};
    hints.ai_socktype = SOCK_STREAM;
    auto* raw = static_cast<addrinfo*>(nullptr);
    auto rc = getaddrinfo(url.host.c_str(), std::to_string(url.port).c_str(), &hints, &raw);
    if (rc != 0)
      lost(gai_strerror(rc));
    auto found = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>{raw, freeaddrinfo};
    auto error = 0;
    for (auto* entry = found.get(); entry != nullptr; entry = entry->ai_next) {
      socket_ = unique_fd{::socket(entry->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
      if (::connect(socket_.get(), entry->ai_addr, entry->ai_addrlen) != 0 && errno != EINPROGRESS) {
        error = errno;
        continue;
      }
      wait(POLLOUT);
      auto size = socklen_t{sizeof error};
      getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
      if (error == 0)
        return;
    }
    lost(std::strerror(error));
  }

  void wait(short events) {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end_ - steady_clock::now()).count();
    auto watched = pollfd{socket_.get(), events, 0};
    if (left <= 0 || ::poll(&watched, 1, static_cast<int>(left)) <= 0)
      throw failure(errc::timed_out, fmt::format("{} did not answer in time", where_));
  }

  [[noreturn]] void lost(const char* reason) const {
    throw failure(errc::peer_lost, fmt::format("{}: {}", where_, reason));
  }

  std::string where_;
  steady_clock::time_point end_;
  unique_fd socket_;
};

} // namespace

http_url parse_url(const std::string& text) {
  auto rest = std::string_view{text};
  constexpr auto scheme = std::string_view{"http://"};
  if (rest.starts_with(scheme))
    rest.remove_prefix(scheme.size());
  else if (rest.find("://") != std::string_view::npos)
    throw usage_error(fmt::format("URL: found \"{}\", expected http://HOST:PORT", text));
  auto slash = rest.find('/');
  auto out = http_url{};
  if (slash != std::string_view::npos)
    out.path = rest.substr(slash);
  auto authority = std::string{rest.substr(0, slash)};
  auto bracket = authority.rfind(']');
  auto colon = authority.rfind(':');
  if (colon == std::string::npos || (bracket != std::string::npos && colon < bracket))
    authority += ":80";
  auto at = parse_endpoint(authority, "", "URL");
  out.host = at.host;
  out.port = at.port;
  return out;
}

http_response http_get(const http_url& url, std::chrono::milliseconds timeout) {
  auto peer = connection{url, timeout};
  // HTTP/1.0: the answer is not chunked and ends with the connection.
  peer.send(
    fmt::format("GET {} HTTP/1.0\r\nHost: {}:{}\r\nAccept: application/json\r\n\r\n", url.path, url.host, url.port));
  auto answer = peer.read_to_end();
  auto out = http_response{};
  constexpr auto status_at = std::string_view{"HTTP/1.1 "}.size();
  auto body_at = answer.find("\r\n\r\n");
  if (answer.starts_with("HTTP/1.") && body_at != std::string::npos)
    std::from_chars(answer.data() + status_at, answer.data() + body_at, out.status);
  if (out.status == 0)
    throw failure(errc::corrupt, fmt::format("{}:{} does not speak HTTP", url.host, url.port));
  out.body = answer.substr(body_at + 4);
  return out;
}

} // namespace perigee::cli
