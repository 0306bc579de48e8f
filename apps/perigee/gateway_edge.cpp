// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/gateway_edge.hpp"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>

#include <utility>

namespace perigee::cli {

gateway_edge::gateway_edge(caf::actor_system& system, edge_options options)
  : shared_(std::make_shared<edge_shared>()), actor_(system.spawn<edge_actor>(std::move(options), shared_)) {}

gateway_edge::~gateway_edge() {
  post([](edge_state& edge) { edge.quit(); });
}

void gateway_edge::post(task_queue<edge_state>::task work) {
  if (shared_->tasks.push(std::move(work)))
    caf::anon_send(actor_, atom::wake_v);
}

void gateway_edge::on_peer(const peer_up& news) {
  post([news](edge_state& edge) { edge.on_peer(news); });
}

gateway::request_handle gateway_edge::submit(gateway::completion_spec spec,
                                             std::shared_ptr<gateway::completion_sink> sink) {
  auto handle = ++handles_;
  post([handle, spec = std::move(spec), sink = std::move(sink)](edge_state& edge) { edge.submit(handle, spec, sink); });
  return handle;
}

void gateway_edge::cancel(gateway::request_handle handle, gateway::cancel_reason reason) {
  post([handle, reason](edge_state& edge) { edge.cancel(handle, reason); });
}

void gateway_edge::set_paused(gateway::request_handle handle, bool paused) {
  post([handle, paused](edge_state& edge) { edge.set_paused(handle, paused); });
}

gateway::backend_health gateway_edge::health() const {
  return shared_->health();
}

void gateway_edge::cluster_json(std::function<void(std::string)> reply) {
  post([reply = std::move(reply)](edge_state& edge) { edge.answer_cluster(reply); });
}

void gateway_edge::request_json(const std::string& id, std::function<void(std::optional<std::string>)> reply) {
  post([id, reply = std::move(reply)](edge_state& edge) { edge.answer_request(id, reply); });
}

void gateway_edge::collect(std::function<void(std::vector<gateway::metric_family>)> reply) {
  post([reply = std::move(reply)](edge_state& edge) { edge.answer_metrics(reply); });
}

} // namespace perigee::cli
