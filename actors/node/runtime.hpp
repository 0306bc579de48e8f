// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/interfaces.hpp"
#include "actors/node/cluster_config.hpp"
#include "actors/node/instance_device.hpp"
#include "actors/session/text_decoder.hpp"
#include "kernels/model/model.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace caf {
class actor_system;
} // namespace caf

namespace perigee::actors {

struct runtime_options {
  /// Turns tokens into text for the sessions of this node.
  text_decoder_factory decoder;
  /// GPUs for the instances.
  device_source devices = device_source::here();
  /// News for people, one sentence each; from any thread.
  std::function<void(const std::string&)> report;
  /// An actor of the cluster, also of this node, is there, or gone (`handle` is null); from any thread.
  std::function<void(const peer_up&)> on_peer;
};

/// One node of a cluster in this process: model, device streams, fabric, actors and the links to other nodes. The gateway is
/// put in front of it by the caller. Called from one thread, but for `stop`.
class node_runtime {
public:
  /// `config` has been checked. Loads nothing yet.
  node_runtime(const cluster_config& config, const std::string& name,
               std::shared_ptr<const kernels::model> model, runtime_options options);
  /// Stops everything.
  ~node_runtime();

  node_runtime(const node_runtime&) = delete;
  node_runtime& operator=(const node_runtime&) = delete;

  /// Reads and packs the weights, starts all actors and begins to connect to the other nodes. `loading` hears what is being
  /// done and how much of that is, from several threads, until this returns. Throws `failure`.
  using progress = std::function<void(const std::string& what, double share)>;
  void start(const progress& loading = {});

  caf::actor_system& system();
  /// Nothing on a node without gateway.
  std::optional<session_actor> session() const;
  transport_actor transport() const;

  /// Whether no instance of this node holds a request. Asks them, and waits for the answers.
  bool idle();

  /// Makes `wait` return; any thread.
  void stop();

  /// Until `stop`, or until an actor that the node cannot do without ended. True in the first case.
  bool wait();

private:
  struct parts;
  std::unique_ptr<parts> parts_;
};

} // namespace perigee::actors
