// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/gateway/service.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

namespace perigee::gateway {

/// What operators may set. Every bound has its answer when reached.
struct server_options {
  std::string host = "127.0.0.1";              ///< an address, IPv4 or IPv6, or a name
  uint16_t port = 8000;                        ///< 0: the system chooses
  uint32_t connections_max = 8192;             ///< further ones are answered 503 and closed
  size_t header_bytes_max = size_t{16} << 10;  ///< 431
  size_t body_bytes_max = size_t{8} << 20;     ///< 413
  size_t bodies_bytes_max = size_t{256} << 20; ///< of all requests that are not yet parsed; 429
  int send_buffer_bytes = 256 << 10; ///< what the system may hold for a client besides our own `unread_bytes_max`
  std::chrono::milliseconds idle_timeout{75'000}; ///< between requests: closed
  std::chrono::milliseconds read_timeout{30'000}; ///< for a whole request from its first byte: 408
  service_options service;
};

/// The HTTP gateway: one thread for all sockets and streams, one for parsing and tokenizing. All calls from any thread.
class http_server {
public:
  /// Binds and serves. Throws `failure` where the address cannot be had. The parts must outlive the server, and so must
  /// every sink call of the backend be over, or be harmless: sinks stay valid for as long as somebody holds them.
  http_server(server_options options, const gateway_parts& parts);

  /// Stops at once: clients are cut off, their requests cancelled as `abandoned`.
  ~http_server();

  http_server(const http_server&) = delete;
  http_server& operator=(const http_server&) = delete;

  uint16_t port() const noexcept;

  /// New completions are refused (503) from now on, /health turns 503, streams go on. Connections are still accepted,
  /// so that clients get an answer rather than a refused connection.
  void begin_drain();

  /// Waits until the last completion was answered and written, at most so long. True if that is so.
  bool wait_drained(std::chrono::milliseconds time_max);

private:
  struct core;
  std::unique_ptr<core> core_;
};

} // namespace perigee::gateway
