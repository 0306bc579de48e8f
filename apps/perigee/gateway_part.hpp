// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/gateway/http_server.hpp"
#include "apps/perigee/gateway_edge.hpp"
#include "apps/perigee/late_backend.hpp"
#include "apps/perigee/model_facts.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace perigee::cli {

struct gateway_part_options {
  std::shared_ptr<const kernels::model> model;
  std::string served_name;        ///< what clients call the model
  std::vector<std::string> nodes; ///< names, in the order of the cluster file
  gateway::server_options http;   ///< address and bounds
};

/// The gateway of one node, whole: HTTP server, metrics, and the edge to the node's session. It can be asked from the
/// beginning, but says that the model is being loaded until it has a session. Any thread.
class gateway_part {
public:
  /// Binds and serves. Throws `failure` where the address cannot be had or the model's chat files cannot be read.
  explicit gateway_part(gateway_part_options options);

  gateway_part(const gateway_part&) = delete;
  gateway_part& operator=(const gateway_part&) = delete;

  /// What clients and /health are told until `open`; from any thread.
  void set_loading(std::string detail, uint32_t percent) {
    target_.set_loading(std::move(detail), percent);
  }
  /// The node runs: completions go to its session from now on. Once; `system` must outlive this.
  void open(caf::actor_system& system, session_actor session);

  /// See `gateway_edge::on_peer`. After `open`.
  void on_peer(const peer_up& news) {
    edge_->on_peer(news);
  }

  uint16_t port() const noexcept {
    return server_.port();
  }
  /// New completions are refused from now on, those in flight go on.
  void begin_drain() {
    server_.begin_drain();
  }
  /// Waits until the last one in flight was answered, at most so long; true if that is so. After `begin_drain`.
  bool wait_drained(std::chrono::milliseconds time_max) {
    return server_.wait_drained(time_max);
  }

private:
  gateway::model_facts facts_;
  model_encoder encoder_;
  gateway::metric_registry registry_;
  edge_options edge_options_;
  late_backend target_;
  std::unique_ptr<gateway_edge> edge_; ///< null until `open`
  gateway::http_server server_; // last: it uses all others
};

} // namespace perigee::cli
