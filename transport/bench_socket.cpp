// SPDX-License-Identifier: Apache-2.0
#include "transport/bench_socket.hpp"

#include "transport/base/status.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace perigee::transport {

namespace {

constexpr uint64_t text_bytes_max = 64 << 10;

[[noreturn]] void refuse(std::string_view doing, int error) {
  throw failure{errc::io_error,
                fmt::format("{}: {}", doing, error == 0 ? "the other process ended" : std::strerror(error))};
}

sockaddr_in address_of(const std::string& host, uint16_t port) {
  auto out = sockaddr_in{};
  out.sin_family = AF_INET;
  out.sin_port = htons(port);
  if (inet_pton(AF_INET, host.c_str(), &out.sin_addr) != 1)
    throw failure{errc::invalid_argument, fmt::format("'{}' is no IPv4 address of this machine", host)};
  return out;
}

stream_socket make_socket() {
  auto made = stream_socket{socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (made.fd() < 0)
    refuse("making a socket", errno);
  auto yes = 1;
  setsockopt(made.fd(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  return made;
}

} // namespace

stream_socket::stream_socket(stream_socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

stream_socket& stream_socket::operator=(stream_socket&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

stream_socket::~stream_socket() {
  if (fd_ >= 0)
    close(fd_);
}

void stream_socket::send(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    auto count = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR)
      continue;
    if (count <= 0)
      refuse("sending", errno);
    bytes = bytes.subspan(static_cast<size_t>(count));
  }
}

void stream_socket::receive(std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    auto count = recv(fd_, bytes.data(), bytes.size(), 0);
    if (count < 0 && errno == EINTR)
      continue;
    if (count <= 0)
      refuse("receiving", count < 0 ? errno : 0);
    bytes = bytes.subspan(static_cast<size_t>(count));
  }
}

void stream_socket::send_word(uint64_t word) {
  send(std::as_bytes(std::span{&word, 1}));
}

uint64_t stream_socket::receive_word() {
  auto word = uint64_t{0};
  receive(std::as_writable_bytes(std::span{&word, 1}));
  return word;
}

void stream_socket::send_text(const std::string& text) {
  send_word(text.size());
  send(std::as_bytes(std::span{text}));
}

std::string stream_socket::receive_text() {
  auto bytes = receive_word();
  if (bytes > text_bytes_max)
    throw failure{errc::corrupt,
                  fmt::format("a text of {} bytes was announced, at most {} are allowed", bytes, text_bytes_max)};
  auto text = std::string(bytes, '\0');
  receive(std::as_writable_bytes(std::span{text}));
  return text;
}

stream_socket listen_at(const std::string& host) {
  auto made = make_socket();
  auto address = address_of(host, 0);
  if (bind(made.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 || listen(made.fd(), 1) != 0)
    refuse("listening at " + host, errno);
  return made;
}

uint16_t port_of(const stream_socket& listener) {
  auto address = sockaddr_in{};
  auto size = socklen_t{sizeof address};
  if (getsockname(listener.fd(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
    refuse("asking for a port", errno);
  return ntohs(address.sin_port);
}

stream_socket connect_to(const std::string& host, uint16_t port) {
  auto made = make_socket();
  auto address = address_of(host, port);
  if (connect(made.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    refuse(fmt::format("connecting to {}:{}", host, port), errno);
  return made;
}

stream_socket accept_from(const stream_socket& listener) {
  auto made = stream_socket{accept4(listener.fd(), nullptr, nullptr, SOCK_CLOEXEC)};
  if (made.fd() < 0)
    refuse("accepting a connection", errno);
  return made;
}

} // namespace perigee::transport
