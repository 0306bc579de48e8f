// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/perigee/edge_actor.hpp"

namespace perigee::cli {

/// The backend that joins the HTTP gateway to the actors of its node. Its calls come from foreign threads and become
/// work for an actor of its own, which alone calls the sinks.
class gateway_edge final : public gateway::backend {
public:
  /// Starts the actor.
  gateway_edge(caf::actor_system& system, edge_options options);
  /// The actor ends after what it was asked before. Sinks and replies may still be called meanwhile.
  ~gateway_edge() override;

  gateway_edge(const gateway_edge&) = delete;
  gateway_edge& operator=(const gateway_edge&) = delete;

  /// An actor of the cluster is there, or gone (without a handle). Conductor and transport actors matter here, those of
  /// this node included. Any thread.
  void on_peer(const peer_up& news);

  gateway::request_handle submit(gateway::completion_spec spec,
                                 std::shared_ptr<gateway::completion_sink> sink) override;
  void cancel(gateway::request_handle handle, gateway::cancel_reason reason) override;
  void set_paused(gateway::request_handle handle, bool paused) override;
  gateway::backend_health health() const override;
  void cluster_json(std::function<void(std::string)> reply) override;
  void request_json(const std::string& id, std::function<void(std::optional<std::string>)> reply) override;
  void collect(std::function<void(std::vector<gateway::metric_family>)> reply) override;

private:
  void post(task_queue<edge_state>::task work);

  std::shared_ptr<edge_shared> shared_;
  caf::actor actor_;
  gateway::request_handle handles_ = 0;
};

} // namespace perigee::cli
