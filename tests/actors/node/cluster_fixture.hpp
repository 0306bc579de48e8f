// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/node/node_actors.hpp"
#include "kernels/cpu/cpu_stream.hpp"
#include "kernels/model/model.hpp"
#include "transport/local/local_fabric.hpp"
#include "transport/local/local_network.hpp"
#include "transport/pool_memory.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/scoped_actor.hpp>

#include <chrono>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace perigee::testing {

struct cluster_shape {
  uint32_t prefills = 1;
  uint32_t decodes = 1;
  uint32_t shards = 1;
  uint32_t slots = 256; ///< of each instance
  uint32_t shard_slots = 256;
  uint32_t block_tokens = 16;
  uint32_t chunk_tokens = 64;
  coupling coupled = coupling::none;
  std::optional<conditional> at_decode = {};
  /// Makes the device of an instance; without it they compute on the processor.
  std::function<std::shared_ptr<device>(const kernels::stream_options&)> make_device = {};
};

/// What one client got.
struct answer {
  std::vector<std::vector<token_id>> tokens; ///< by choice
  std::vector<std::string> text;
  std::vector<finish_reason> finish;
  client_end end;
  ec error = ec::none;
  std::string detail;
  bool over = false;
};

/// All roles in one node of this process, on real threads with the real engine.
class process_cluster {
public:
  process_cluster(std::shared_ptr<const kernels::model> model, const cluster_shape& shape);
  ~process_cluster();

  /// Sends all requests at once (`client` numbers are given here) and waits until each is over.
  std::vector<answer> run(std::vector<open_request> requests);

  /// A greedy request of `tokens` tokens that nothing but the length ends.
  static open_request greedy(std::vector<token_id> prompt, uint32_t tokens);

  /// Waits until no instance holds anything; false if that does not happen within a few seconds.
  bool becomes_idle();
  /// Waits until the Conductor knows of so many blocks at shards, which hear of them first.
  bool comes_to_hold(uint64_t blocks);

  /// Ends the actors that have no address: the devices' and the policy.
  void end_helpers();

  cluster_status status();
  transport_status moved();

private:
  struct config : caf::actor_system_config {
    config() {
      set("caf.scheduler.policy", "sharing");
    }
  };

  std::shared_ptr<const kernels::model> model_;
  std::list<transport::pool_memory> memory_;
  config config_;
  caf::actor_system system_;
  node_actors node_;
  uint64_t clients_ = 0;
};

} // namespace perigee::testing
