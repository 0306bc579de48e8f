// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace perigee::transport {

/// A blocking stream socket. Everything throws `failure` (`io_error`) when the other side is gone or the system
/// refuses.
class stream_socket {
public:
  stream_socket() noexcept = default;
  explicit stream_socket(int fd) noexcept : fd_(fd) {}
  stream_socket(stream_socket&& other) noexcept;
  stream_socket& operator=(stream_socket&& other) noexcept;
  ~stream_socket();

  void send(std::span<const std::byte> bytes);
  void receive(std::span<std::byte> bytes);
  void send_word(uint64_t word);
  uint64_t receive_word();
  void send_text(const std::string& text);
  std::string receive_text();

  int fd() const noexcept {
    return fd_;
  }

private:
  int fd_ = -1;
};

/// Listens at a free port of `host`, an IPv4 address.
stream_socket listen_at(const std::string& host);
/// To where `listener` listens.
uint16_t port_of(const stream_socket& listener);
stream_socket connect_to(const std::string& host, uint16_t port);
stream_socket accept_from(const stream_socket& listener);

} // namespace perigee::transport
