// SPDX-License-Identifier: Apache-2.0
#include "apps/gateway/connection.hpp"

#include "apps/gateway/responses.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>

namespace perigee::gateway {

namespace {

namespace net = boost::asio;
using boost::system::error_code;
using net::ip::tcp;

/// Input that may wait behind the request being answered.
constexpr auto pending_bytes_max = size_t{64} << 10;
/// How long a finished connection waits for its client to close, so that the last answer is not lost to a reset.
constexpr auto linger_time = std::chrono::seconds{2};

} // namespace

connection::connection(tcp::socket socket, connection_host& host, uint64_t id)
  : socket_(std::move(socket)), host_(host), id_(id), since_(clock::now()) {}

void connection::start() {
  auto ignored = error_code{};
  socket_.non_blocking(true, ignored);
  socket_.set_option(tcp::no_delay{true}, ignored);
  if (host_.options.send_buffer_bytes > 0)
    socket_.set_option(net::socket_base::send_buffer_size{host_.options.send_buffer_bytes}, ignored);
  wait_readable();
}

void connection::wait_readable() {
  if (reading_ || closed_ || end_of_input_)
    return;
  reading_ = true;
  socket_.async_wait(tcp::socket::wait_read,
                     [self = shared_from_this()](const error_code& error) { self->on_readable(error); });
}

void connection::on_readable(const error_code& error) {
  reading_ = false;
  if (closed_)
    return;
  auto failed = error;
  auto bytes = failed ? size_t{0} : socket_.read_some(net::buffer(host_.scratch), failed);
  if (failed == net::error::would_block || failed == net::error::interrupted)
    return wait_readable();
  if (failed)
    return on_end_of_input();
  if (!lingering_) {
    pending_.append(host_.scratch.data(), bytes);
    process();
  }
  if (pending_.size() < pending_bytes_max)
    wait_readable(); // else when the request being answered is done
}

void connection::on_end_of_input() {
  end_of_input_ = true;
  // a client that only shut its own side still gets the answers that are soon there
  if (!answering_ || lingering_ || (activity_ != nullptr && activity_->needs_client()))
    close(cancel_reason::client_gone);
}

void connection::process() {
  while (!answering_ && !closed_ && !pending_.empty()) {
    if (reader_ == nullptr) {
      reader_ =
        std::make_unique<request_reader>(host_.options.header_bytes_max, host_.options.body_bytes_max, host_.bodies);
      since_ = clock::now();
    }
    auto before = reader_->where();
    auto used = reader_->feed(pending_);
    pending_.erase(0, used);
    auto now_at = reader_->where();
    if (now_at == request_reader::phase::failed)
      return refuse(reader_->error());
    if (now_at == request_reader::phase::complete) {
      auto request = reader_->take();
      reader_.reset();
      answer(std::move(request));
    } else if (now_at != before && reader_->expects_continue() && pending_.empty()) {
      queued_ += "HTTP/1.1 100 Continue\r\n\r\n";
      flush();
    } else if (used == 0) {
      return;
    }
  }
}

void connection::answer(http_request request) {
  answering_ = true;
  finished_ = false;
  since_ = clock::now();
  head_only_ = request.method == "HEAD";
  http_1_0_ = request.http_1_0;
  keep_alive_ = request.keep_alive;
  echoed_ = echoed_headers(request, random_id("req-"));
  auto running = host_.answers.serve(std::move(request), *this);
  if (!finished_ && !closed_)
    activity_ = std::move(running);
}

/// Answers a request that could not be read; where the next one begins is unknown then, so the connection ends.
void connection::refuse(api_error error) {
  answering_ = true;
  finished_ = false;
  since_ = clock::now();
  auto request = reader_->take();
  reader_.reset();
  pending_ = {};
  head_only_ = request.method == "HEAD";
  echoed_ = echoed_headers(request, random_id("req-"));
  respond(host_.answers.refuse(error));
}

void connection::send_head(const http_response& response, framing how) {
  framing_ = how;
  keep_alive_ = keep_alive_ && !response.close && how != framing::close && !host_.answers.draining();
  queued_ += render_head(response, how, keep_alive_, echoed_);
}

void connection::respond(http_response response) {
  send_head(response, framing::length);
  if (!head_only_)
    queued_ += response.body;
  finish();
}

void connection::begin_stream(http_response head) {
  send_head(head, http_1_0_ ? framing::close : framing::chunked);
  flush();
}

void connection::write(std::string bytes) {
  queued_ += framing_ == framing::chunked ? render_chunk(bytes) : bytes;
  flush();
}

void connection::finish() {
  if (framing_ == framing::chunked)
    queued_ += "0\r\n\r\n";
  finished_ = true;
  activity_.reset();
  since_ = clock::now();
  flush();
}

void connection::abort() {
  // with a plain close the system would go on offering what the client does not read
  auto ignored = error_code{};
  socket_.set_option(net::socket_base::linger{true, 0}, ignored);
  activity_.reset();
  close(cancel_reason::slow_client);
}

size_t connection::unread_bytes() const noexcept {
  return queued_.size() + writing_.size() - written_;
}

void connection::flush() {
  if (write_under_way_ || closed_)
    return;
  if (written_ == writing_.size()) {
    writing_.clear();
    written_ = 0;
    std::swap(queued_, writing_);
  }
  if (writing_.empty())
    return;
  write_under_way_ = true;
  auto rest = net::buffer(writing_.data() + written_, writing_.size() - written_);
  socket_.async_write_some(
    rest, [self = shared_from_this()](const error_code& error, size_t bytes) { self->on_written(error, bytes); });
}

void connection::on_written(const error_code& error, size_t bytes) {
  write_under_way_ = false;
  if (closed_)
    return;
  if (error)
    return close(cancel_reason::client_gone);
  written_ += bytes;
  since_ = clock::now();
  if (auto running = activity_)
    running->output_moved();
  flush();
  if (!closed_ && answering_ && finished_ && unread_bytes() == 0)
    on_answered();
}

void connection::on_answered() {
  answering_ = false;
  forget_output();
  echoed_ = {};
  if (!keep_alive_)
    return linger();
  process();
  if (end_of_input_ && !answering_)
    return linger();
  if (pending_.empty())
    pending_ = {};
  if (pending_.size() < pending_bytes_max)
    wait_readable();
}

void connection::linger() {
  auto ignored = error_code{};
  lingering_ = true;
  since_ = clock::now();
  pending_ = {};
  socket_.shutdown(tcp::socket::shutdown_send, ignored);
  if (end_of_input_)
    return close(cancel_reason::client_gone);
  wait_readable();
}

void connection::forget_output() {
  queued_ = {};
  writing_ = {};
  written_ = 0;
}

void connection::close(cancel_reason reason) {
  if (closed_)
    return;
  closed_ = true;
  if (auto running = std::exchange(activity_, nullptr))
    running->cancelled(reason);
  auto ignored = error_code{};
  socket_.close(ignored);
  reader_.reset();
  pending_ = {};
  if (!write_under_way_)
    forget_output();     // else the system may still look at it
  host_.open.erase(id_); // may end this object's last reference but the caller's
}

void connection::sweep(clock::time_point now) {
  auto elapsed = now - since_;
  if (auto running = activity_)
    return running->tick(now);
  if (lingering_ && elapsed >= linger_time)
    return close(cancel_reason::client_gone);
  if (lingering_)
    return;
  if (!quiet()) {
    if (elapsed >= host_.options.service.slow_client_timeout) {
      host_.answers.metrics().ended(to_string(cancel_reason::slow_client));
      abort();
    }
    return;
  }
  if (reader_ != nullptr) {
    if (elapsed < host_.options.read_timeout)
      return;
    auto error = invalid_request("request_timeout", "The request did not arrive completely in time.");
    error.http_status = 408;
    return refuse(error);
  }
  if (elapsed >= host_.options.idle_timeout)
    close(cancel_reason::client_gone);
}

} // namespace perigee::gateway
