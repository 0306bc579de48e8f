// SPDX-License-Identifier: Apache-2.0
#include "apps/gateway/http_server.hpp"

#include "apps/gateway/connection.hpp"
#include "transport/base/status.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace perigee::gateway {

namespace {

namespace net = boost::asio;
using boost::system::error_code;
using net::ip::tcp;

/// How long accepting rests when the system has no more file descriptors.
constexpr auto accept_rest = std::chrono::milliseconds{100};

post_function post_to(const std::shared_ptr<net::io_context>& context) {
  return [context](std::function<void()> task) { net::post(*context, std::move(task)); };
}

/// Every connection is a file descriptor, and the usual soft limit of 1,024 is far below the hard one.
void raise_file_limit(uint64_t wanted) {
  auto limit = rlimit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
    return;
  limit.rlim_cur = std::min<rlim_t>(wanted, limit.rlim_max);
  setrlimit(RLIMIT_NOFILE, &limit);
}

tcp::acceptor bind_to(net::io_context& context, const std::string& host, uint16_t port) {
  try {
    auto found = tcp::resolver{context}.resolve(host, std::to_string(port), tcp::resolver::passive);
    return tcp::acceptor{context, found.begin()->endpoint(), true}; // opens, binds and listens
  } catch (const boost::system::system_error& error) {
    throw failure{errc::io_error, fmt::format("cannot listen on {}:{}: {}; choose another address or port", host, port,
                                              error.code().message())};
  }
}

} // namespace

/// The I/O context is shared with sinks and replies that the backend still holds when the server is gone: what they
/// post then is never run.
struct http_server::core {
  core(server_options wanted, const gateway_parts& parts)
    : options(std::move(wanted)), bodies(options.bodies_bytes_max), io(std::make_shared<net::io_context>(1)),
      worker(std::make_shared<net::io_context>(1)),
      answers(options.service, parts, post_to(io), post_to(worker)), host{options, answers, bodies, {}},
      acceptor(bind_to(*io, options.host, options.port)), port(acceptor.local_endpoint().port()), ticker(*io),
      rest(*io), work(net::make_work_guard(*io)), worker_work(net::make_work_guard(*worker)) {
    raise_file_limit(uint64_t{options.connections_max} + 256);
    auto shortest = std::min({options.idle_timeout, options.read_timeout, options.service.slow_client_timeout,
                              options.service.request_timeout, options.service.query_timeout});
    tick_interval =
      std::clamp<std::chrono::milliseconds>(shortest / 4, std::chrono::milliseconds{10}, std::chrono::seconds{1});
    accept_next();
    tick();
    io_thread = std::thread{[this] { io->run(); }};
    worker_thread = std::thread{[this] { worker->run(); }};
  }

  ~core() {
    net::post(*io, [this] { stop(); });
    worker->stop();
    worker_thread.join();
    io_thread.join();
  }

  void stop() {
    stopping = true;
    auto ignored = error_code{};
    acceptor.close(ignored);
    ticker.cancel();
    rest.cancel();
    while (!host.open.empty()) {
      auto client = host.open.begin()->second;
      client->close(cancel_reason::abandoned);
    }
    work.reset(); // run() returns once the cancelled operations were answered
  }

  void accept_next() {
    acceptor.async_accept([this](const error_code& error, tcp::socket socket) {
      if (stopping)
        return;
      if (error == net::error::no_descriptors || error == net::error::no_memory
          || error == net::error::no_buffer_space) {
        rest.expires_after(accept_rest);
        rest.async_wait([this](const error_code& cancelled) {
          if (!cancelled && !stopping)
            accept_next();
        });
        return;
      }
      if (!error)
        welcome(std::move(socket));
      accept_next();
    });
  }

  void welcome(tcp::socket socket) {
    if (host.open.size() >= options.connections_max)
      return turn_away(std::move(socket));
    auto client = std::make_shared<connection>(std::move(socket), host, ++connections_seen);
    host.open.emplace(connections_seen, client);
    client->start();
  }

  /// One attempt to say why; a client that does not take it loses nothing it had.
  void turn_away(tcp::socket socket) {
    auto response = answers.refuse(
      unavailable(fmt::format("{} clients are connected, as many as this gateway takes.", host.open.size()), 1));
    auto text = render_head(response, framing::length, false, {}) + response.body;
    auto ignored = error_code{};
    socket.non_blocking(true, ignored);
    socket.write_some(net::buffer(text), ignored);
    socket.shutdown(tcp::socket::shutdown_send, ignored);
  }

  void tick() {
    ticker.expires_after(tick_interval);
    ticker.async_wait([this](const error_code& cancelled) {
      if (cancelled || stopping) // a timer that had expired already is not cancelled
        return;
      sweep();
      tick();
    });
  }

  void sweep() {
    auto now = clock::now();
    auto unread = size_t{0};
    auto quiet = answers.in_flight() == 0;
    for (auto next = host.open.begin(); next != host.open.end();) {
      auto client = (next++)->second; // a sweep closes at most the connection it looks at
      client->sweep(now);
      unread += client->unread_bytes();
      quiet = quiet && client->quiet();
    }
    answers.metrics().connections.set(static_cast<double>(host.open.size()));
    answers.metrics().unread_bytes.set(static_cast<double>(unread));
    if (answers.draining() && quiet) {
      auto lock = std::lock_guard{drain_mutex};
      drained = true;
      drain_changed.notify_all();
    }
  }

  server_options options;
  byte_budget bodies; // before the contexts, whose tasks hold shares of it
  std::shared_ptr<net::io_context> io;
  std::shared_ptr<net::io_context> worker;
  service answers;
  connection_host host;
  tcp::acceptor acceptor;
  uint16_t port;
  net::steady_timer ticker;
  net::steady_timer rest;
  net::executor_work_guard<net::io_context::executor_type> work;
  net::executor_work_guard<net::io_context::executor_type> worker_work;
  std::chrono::milliseconds tick_interval{1000};
  uint64_t connections_seen = 0;
  bool stopping = false; // I/O thread only
  std::mutex drain_mutex;
  std::condition_variable drain_changed;
  bool drained = false;
  std::thread io_thread;
  std::thread worker_thread;
};

http_server::http_server(server_options options, const gateway_parts& parts)
  : core_(std::make_unique<core>(std::move(options), parts)) {}

http_server::~http_server() = default;

uint16_t http_server::port() const noexcept {
  return core_->port;
}

void http_server::begin_drain() {
  net::post(*core_->io, [core = core_.get()] { core->answers.begin_drain(); });
}

bool http_server::wait_drained(std::chrono::milliseconds time_max) {
  auto lock = std::unique_lock{core_->drain_mutex};
  return core_->drain_changed.wait_for(lock, time_max, [this] { return core_->drained; });
}

} // namespace perigee::gateway
