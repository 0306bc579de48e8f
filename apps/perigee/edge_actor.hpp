// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/interfaces.hpp"
#include "apps/perigee/cluster_view.hpp"
#include "apps/perigee/request_table.hpp"
#include "apps/perigee/task_queue.hpp"

#include <caf/event_based_actor.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/timespan.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace perigee::cli {

struct edge_options {
  session_actor session;
  std::string model;              ///< as clients call it
  std::vector<std::string> nodes; ///< names, in the order of the cluster file
  /// How often the cluster is looked at for /health.
  caf::timespan refresh = std::chrono::milliseconds{250};
  /// For everybody who is asked, at the same time; less than the gateway waits for an answer.
  caf::timespan query_timeout = std::chrono::milliseconds{1500};
};

class edge_state;

/// What the edge's actor and other threads share.
struct edge_shared {
  task_queue<edge_state> tasks; ///< for the actor; whoever makes it non-empty sends `wake`

  gateway::backend_health health() const {
    auto lock = std::lock_guard{mutex_};
    return health_;
  }
  void set_health(gateway::backend_health health) {
    auto lock = std::lock_guard{mutex_};
    health_ = std::move(health);
  }

private:
  mutable std::mutex mutex_;
  gateway::backend_health health_{false, "The gateway is starting."};
};

/// Whether the cluster of this view can serve, and if not, what is missing.
gateway::backend_health health_of(const cluster_view& view);

/// The actor behind the gateway: sends its requests to the session, hands the answers to their sinks, and asks
/// Conductor, session and transport actors now and then how they are. Never blocks. Public functions are for tasks.
class edge_state {
public:
  static inline constexpr const char* name = "gateway-edge";

  edge_state(caf::event_based_actor* self, edge_options options, std::shared_ptr<edge_shared> shared);

  caf::behavior make_behavior();

  void submit(gateway::request_handle handle, gateway::completion_spec spec,
              std::shared_ptr<gateway::completion_sink> sink);
  void cancel(gateway::request_handle handle, gateway::cancel_reason reason);
  void set_paused(gateway::request_handle handle, bool paused) {
    table_.set_paused(handle, paused);
  }
  /// Without a handle it is gone.
  void on_peer(const peer_up& news);
  void answer_cluster(const std::function<void(std::string)>& reply);
  void answer_request(const std::string& id, const std::function<void(std::optional<std::string>)>& reply);
  void answer_metrics(const std::function<void(std::vector<gateway::metric_family>)>& reply);
  void quit() {
    self_->quit();
  }

private:
  using callback = std::function<void()>;

  void refresh();
  /// Asks everybody; `then` comes when all have answered or been given up.
  void ask_all(const callback& then);
  void ask_conductor(const callback& then);
  void ask_session(const callback& then);
  void ask_transport(const peer_up& of, const callback& then);
  void on_conductor(const peer_up& news);
  void on_transport(const peer_up& news);
  void session_lost();
  /// Brings one record up to date; `then(answered)` says whether the Conductor told what it knows.
  void ask_decision(uint64_t number, std::function<void(bool)> then);
  std::vector<request_record> placed(const std::vector<uint64_t>& numbers);
  void publish_health();

  caf::event_based_actor* self_;
  edge_options options_;
  std::shared_ptr<edge_shared> shared_;
  request_table table_;
  cluster_view view_;
  std::optional<peer_up> conductor_;
  bool session_alive_ = true;
  bool refreshing_ = false;
  std::map<uint32_t, peer_up> transports_; ///< by node
};

using edge_actor = caf::stateful_actor<edge_state>;

} // namespace perigee::cli
