// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/gateway/backend.hpp"
#include "apps/gateway/http_types.hpp"

#include <chrono>
#include <cstddef>
#include <string>

namespace perigee::gateway {

using clock = std::chrono::steady_clock;

/// The place to answer one request: a connection, seen by what answers. Gateway thread only. After `respond`, `finish`
/// or `abort` the exchange is over and must not be touched again.
class exchange {
public:
  virtual ~exchange() = default;

  /// The whole answer at once.
  virtual void respond(http_response response) = 0;

  /// An answer in pieces: head, any number of `write`, `finish`.
  virtual void begin_stream(http_response head) = 0;
  virtual void write(std::string bytes) = 0;
  virtual void finish() = 0;

  /// Ends the connection at once and drops what the client has not read.
  virtual void abort() = 0;

  /// Bytes given to this exchange that the operating system has not taken yet.
  virtual size_t unread_bytes() const = 0;
};

/// Whatever takes time to answer a request. Owned by its connection until the exchange is over. Gateway thread only.
class activity {
public:
  virtual ~activity() = default;

  /// Whether to give up when the client sends no more, which mostly means that it has gone.
  virtual bool needs_client() const = 0;
  /// The exchange is gone; nothing may be written to it any more.
  virtual void cancelled(cancel_reason reason) = 0;
  /// `unread_bytes` has become less.
  virtual void output_moved() = 0;
  /// Now and then, at least every second: the place to look at deadlines.
  virtual void tick(clock::time_point now) = 0;
};

} // namespace perigee::gateway
