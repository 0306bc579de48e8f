// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/gateway/http_server.hpp"
#include "apps/gateway/request_reader.hpp"

#include <boost/asio/ip/tcp.hpp>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace perigee::gateway {

class connection;

/// What all connections of one server share. Gateway thread only.
struct connection_host {
  const server_options& options;
  service& answers;
  byte_budget& bodies;
  std::map<uint64_t, std::shared_ptr<connection>> open;
  std::vector<char> scratch =
    std::vector<char>(size_t{64} << 10); ///< read buffer of whichever connection reads right now
};

/// One client: reads requests, one after the other, and writes their answers. An idle connection holds no buffers.
/// While a request is answered the socket is still watched, so that a client's leaving is noticed at once; what it
/// sends ahead waits, bounded.
class connection : public exchange, public std::enable_shared_from_this<connection> {
public:
  connection(boost::asio::ip::tcp::socket socket, connection_host& host, uint64_t id);

  void start();

  /// Looks at the time: closes what idles, dawdles or does not read.
  void sweep(clock::time_point now);

  /// Closes now; what was being answered is cancelled.
  void close(cancel_reason reason);

  /// Neither a request nor unwritten output.
  bool quiet() const noexcept {
    return !answering_ && unread_bytes() == 0;
  }

  void respond(http_response response) override;
  void begin_stream(http_response head) override;
  void write(std::string bytes) override;
  void finish() override;
  void abort() override;
  size_t unread_bytes() const noexcept override;

private:
  void wait_readable();
  void on_readable(const boost::system::error_code& error);
  void on_end_of_input();
  void process();
  void answer(http_request request);
  void refuse(api_error error); // by value: the reader that has it goes away
  void send_head(const http_response& response, framing how);
  void flush();
  void on_written(const boost::system::error_code& error, size_t bytes);
  void on_answered();
  void linger();
  void forget_output();

  boost::asio::ip::tcp::socket socket_;
  connection_host& host_;
  uint64_t id_;

  // input
  std::string pending_;                    ///< received, not yet understood
  std::unique_ptr<request_reader> reader_; ///< of the request being received
  bool reading_ = false;                   ///< a wait for input is under way
  bool end_of_input_ = false;              ///< the client sends no more

  // the request being answered
  std::shared_ptr<activity> activity_;
  bool answering_ = false; ///< until its last byte was written
  bool finished_ = false;  ///< the whole answer was given to us
  bool head_only_ = false;
  bool http_1_0_ = false;
  bool keep_alive_ = true;
  framing framing_ = framing::length;
  header_list echoed_;

  // output: `writing_` is with the system from `written_` on, `queued_` comes next
  std::string queued_;
  std::string writing_;
  size_t written_ = 0;
  bool write_under_way_ = false;

  bool lingering_ = false; ///< our side is shut; waiting for the client to have read it
  bool closed_ = false;
  clock::time_point since_; ///< of the current state: idle, receiving, writing (last progress), lingering
};

} // namespace perigee::gateway
