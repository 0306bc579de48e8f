// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/gateway/api_error.hpp"
#include "apps/gateway/http_types.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

namespace perigee::gateway {

/// Reads one HTTP/1 request from bytes, however they are cut. Hides the parser (Boost.Beast) from the rest of the
/// gateway.
class request_reader {
public:
  enum class phase : uint8_t { header, body, complete, failed };

  /// `bodies` bounds what all readers together hold of bodies that are not complete yet.
  request_reader(size_t header_bytes_max, size_t body_bytes_max, byte_budget& bodies);
  ~request_reader();

  /// Takes a prefix of `bytes`, which begin where the last call stopped, and says how much. Stops after the header and
  /// after the request. Takes nothing where it needs more first, and nothing once complete or failed.
  size_t feed(std::string_view bytes);

  phase where() const noexcept {
    return phase_;
  }

  /// Once failed: 400, 408, 413, 417, 429 or 431.
  const api_error& error() const noexcept {
    return *error_;
  }

  /// The client sends its body only after "100 Continue". Known once the header is read.
  bool expects_continue() const noexcept {
    return expects_continue_;
  }

  /// The request, once complete; with an empty body before (to answer what failed).
  http_request take();

private:
  struct parser;

  void fail(api_error error);
  void check_header();

  size_t header_bytes_max_;
  size_t body_bytes_max_;
  std::unique_ptr<parser> parser_;
  byte_lease lease_;
  phase phase_ = phase::header;
  bool expects_continue_ = false;
  std::optional<api_error> error_;
};

} // namespace perigee::gateway
