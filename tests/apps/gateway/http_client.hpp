// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace perigee::gateway {

/// One answer as read from a socket, body unchunked.
struct client_response {
  int status = 0;
  std::map<std::string, std::string> headers; ///< names in lower case
  std::string body;
};

/// A blocking HTTP client that can also misbehave. Reads give up after ten seconds (throwing), so that a test fails
/// rather than hangs.
class http_client {
public:
  /// `receive_buffer_bytes` > 0 sets the socket's buffer.
  explicit http_client(uint16_t port, int receive_buffer_bytes = 0);
  ~http_client();
  http_client(http_client&& other) noexcept;
  http_client& operator=(http_client&&) = delete;

  void send(std::string_view bytes);
  /// Half of the connection: nothing more will be sent.
  void end_sending();
  /// Goes away without a word.
  void disconnect();

  client_response read_response(bool head_only = false);
  /// Reads until `text` was seen; gives all that was read and not taken before.
  std::string read_until(std::string_view text);
  /// True once the server has closed and nothing was left to read.
  bool at_end();

  client_response get(std::string_view path);
  client_response post(std::string_view path, std::string_view json);

private:
  bool receive();
  std::string take_line();
  std::string take_bytes(size_t count);

  int fd_;
  std::string buffer_;
};

/// A request with Host and Content-Length.
std::string request_text(std::string_view method, std::string_view path, std::string_view body = {},
                         std::string_view more_headers = {});

/// Looks every millisecond; false if it is not so within ten seconds.
bool eventually(const std::function<bool()>& condition);

} // namespace perigee::gateway
