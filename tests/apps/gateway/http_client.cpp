// SPDX-License-Identifier: Apache-2.0
#include "tests/apps/gateway/http_client.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>

namespace perigee::gateway {

namespace {

[[noreturn]] void throw_errno(const char* what) {
  throw std::system_error{errno, std::generic_category(), what};
}

} // namespace

http_client::http_client(uint16_t port, int receive_buffer_bytes)
  : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  if (fd_ < 0)
    throw_errno("socket");
  auto patience = timeval{10, 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (receive_buffer_bytes > 0)
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof receive_buffer_bytes);
  auto address = sockaddr_in{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    ::close(fd_);
    throw_errno("connect");
  }
}

http_client::http_client(http_client&& other) noexcept
  : fd_(std::exchange(other.fd_, -1)), buffer_(std::move(other.buffer_)) {}

http_client::~http_client() {
  disconnect();
}

void http_client::send(std::string_view bytes) {
  while (!bytes.empty()) {
    auto sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0)
      throw_errno("send");
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
}

void http_client::end_sending() {
  ::shutdown(fd_, SHUT_WR);
}

void http_client::disconnect() {
  if (fd_ >= 0)
    ::close(std::exchange(fd_, -1));
}

bool http_client::receive() {
  auto bytes = std::array<char, 16384>{};
  auto count = ::recv(fd_, bytes.data(), bytes.size(), 0);
  if (count < 0)
    throw_errno("recv");
  buffer_.append(bytes.data(), static_cast<size_t>(count));
  return count > 0;
}

std::string http_client::take_line() {
  auto end = buffer_.find("\r\n");
  for (; end == std::string::npos; end = buffer_.find("\r\n"))
    if (!receive())
      throw std::runtime_error{"the server closed in the middle of: " + buffer_};
  auto line = buffer_.substr(0, end);
  buffer_.erase(0, end + 2);
  return line;
}

std::string http_client::take_bytes(size_t count) {
  while (buffer_.size() < count)
    if (!receive())
      throw std::runtime_error{"the server closed in the middle of a body"};
  auto bytes = buffer_.substr(0, count);
  buffer_.erase(0, count);
  return bytes;
}

client_response http_client::read_response(bool head_only) {
  auto response = client_response{};
  response.status = std::stoi(take_line().substr(9));
  for (auto line = take_line(); !line.empty(); line = take_line()) {
    auto colon = line.find(": ");
    auto name = line.substr(0, colon);
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    response.headers[name] = line.substr(colon + 2);
  }
  if (head_only || response.status == 100 || response.status == 204)
    return response;
  if (response.headers.count("transfer-encoding") > 0) {
    for (auto size = std::stoul(take_line(), nullptr, 16); size > 0; size = std::stoul(take_line(), nullptr, 16)) {
      response.body += take_bytes(size);
      take_line();
    }
    take_line();
  } else if (auto length = response.headers.find("content-length"); length != response.headers.end()) {
    response.body = take_bytes(std::stoul(length->second));
  } else {
    while (receive()) {
    }
    response.body = std::exchange(buffer_, {});
  }
  return response;
}

std::string http_client::read_until(std::string_view text) {
  auto at = buffer_.find(text);
  for (; at == std::string::npos; at = buffer_.find(text))
    if (!receive())
      throw std::runtime_error{"the server closed after: " + buffer_};
  return take_bytes(at + text.size());
}

bool http_client::at_end() {
  return buffer_.empty() && !receive();
}

client_response http_client::get(std::string_view path) {
  send(request_text("GET", path));
  return read_response();
}

client_response http_client::post(std::string_view path, std::string_view json) {
  send(request_text("POST", path, json));
  return read_response();
}

std::string request_text(std::string_view method, std::string_view path, std::string_view body,
                         std::string_view more_headers) {
  auto text = std::string{method} + " " + std::string{path} + " HTTP/1.1\r\nHost: test\r\n" + std::string{more_headers};
  if (method == "POST")
    text += "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
  return text + "\r\n" + std::string{body};
}

bool eventually(const std::function<bool()>& condition) {
  auto end = std::chrono::steady_clock::now() + std::chrono::seconds{10};
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end)
      return false;
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
  return true;
}

} // namespace perigee::gateway
