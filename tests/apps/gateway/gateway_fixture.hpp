// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/gateway/http_server.hpp"
#include "tests/apps/gateway/fake_backend.hpp"
#include "tests/apps/gateway/http_client.hpp"
#include "tests/support/testing.hpp"

#include <string>

namespace perigee::gateway {

/// A server on a free port over a fake backend.
struct gateway_fixture {
  explicit gateway_fixture(
    fake_backend::planner plan = [](const completion_spec&) { return completion_plan{}; }, server_options wanted = {})
    : target(std::move(plan)), server(on_free_port(std::move(wanted)), {model, encoder, target, registry}) {}

  http_client client(int receive_buffer_bytes = 0) {
    return http_client{server.port(), receive_buffer_bytes};
  }

  bool metrics_have(const std::string& line) {
    return client().get("/metrics").body.find(line + "\n") != std::string::npos;
  }

  model_facts model = small_model();
  byte_encoder encoder;
  metric_registry registry;
  fake_backend target;
  http_server server;

private:
  static server_options on_free_port(server_options options) {
    options.port = 0;
    return options;
  }
};

inline std::string completion_json(const std::string& more = {}) {
  return R"({"model":"org/small","prompt":"Hi","max_tokens":64)" + more + "}";
}

/// Text of all pieces in a stream of completions.
inline std::string streamed_text(const std::string& body) {
  auto text = std::string{};
  const auto marker = std::string{"\"text\":\""};
  for (auto at = body.find(marker); at != std::string::npos; at = body.find(marker, at)) {
    at += marker.size();
    text += body.substr(at, body.find('"', at) - at);
  }
  return text;
}

inline bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

} // namespace perigee::gateway
