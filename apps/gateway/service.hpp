// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/gateway/completion_job.hpp"
#include "apps/gateway/exchange.hpp"
#include "apps/gateway/routes.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace perigee::gateway {

/// Bounds of the service; see `server_options` for what they mean to users.
struct service_options {
  uint32_t requests_in_flight_max = 4096;
  size_t unread_bytes_max = size_t{1} << 20;
  std::chrono::milliseconds slow_client_timeout{30'000};
  std::chrono::milliseconds request_timeout{600'000};
  std::chrono::milliseconds query_timeout{2'000}; ///< for what the backend is asked for /metrics and /cluster
  request_limits limits;
};

/// What the gateway needs from the rest of the program. All of it must outlive the server.
struct gateway_parts {
  const model_facts& model;
  const text_encoder& encoder;
  backend& target;
  metric_registry& registry;
};

/// Answers HTTP requests: which path and method mean what. Knows no sockets. Gateway thread only.
class service {
public:
  service(const service_options& options, const gateway_parts& parts, post_function to_gateway,
          post_function to_worker);

  /// Answers through `where`, either at once (then the result is null) or by an activity that the caller keeps until
  /// the exchange is over.
  std::shared_ptr<activity> serve(http_request request, exchange& where);

  /// The answer to something that never became a request.
  http_response refuse(const api_error& error);

  /// From now on completions are refused (503) and /health says so.
  void begin_drain() noexcept {
    draining_ = true;
  }
  bool draining() const noexcept {
    return draining_;
  }

  /// Completion requests being answered.
  size_t in_flight() const noexcept {
    return context_.in_flight;
  }

  gateway_metrics& metrics() noexcept {
    return metrics_;
  }

private:
  std::shared_ptr<activity> serve_reading(const route_match& match, exchange& where);
  std::shared_ptr<activity> serve_completion(const route_match& match, http_request request, exchange& where);
  void answer(std::string_view handler, exchange& where, http_response response);

  template <class Reply>
  std::shared_ptr<activity> ask(const route_match& match, exchange& where,
                                const std::function<void(std::function<void(Reply)>)>& question,
                                std::function<http_response(std::optional<Reply>)> render);

  service_options options_;
  gateway_parts parts_;
  gateway_metrics metrics_;
  completion_context context_;
  bool draining_ = false;
};

/// A name for an HTTP request or answer: `prefix` and 32 random hexadecimal digits.
std::string random_id(std::string_view prefix);

} // namespace perigee::gateway
