// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/sim/replay/run_recorder.hpp"
#include "actors/sim/world.hpp"
#include "transport/fabric.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

namespace perigee::sim {

/// A data network as flows instead of bytes: each transfer is one flow from port to port. Nothing is copied and nothing
/// goes wrong: for long replays, where `sim_network` would move every byte.
struct flow_options {
  double bytes_per_second = 87e9; ///< of each node's port, each direction
  double bytes_scale = 1;         ///< bytes on the wire for each byte of a transfer
  uint64_t latency_ns = 0;        ///< after the last byte, until both sides know
  /// Layer-wise hand-over: of what is sent while it is being computed, one part in so many is left at the end.
  double handover_layers = 80;
  uint64_t block_bytes = 1; ///< of a transfer's piece that has all layers
  run_recorder* recorder = nullptr; ///< told of each flow that ended; may be null
  double bytes_token = 1;           ///< on the wire, for what it is told
};

/// When the block at a place of a node's memory is there, if a device is still computing it: virtual ns, or something in
/// the past.
using source_ready = std::function<uint64_t(const std::byte* place)>;

class flow_fabric;

/// The network between the nodes of one replay. A flow's rate is the least that its sender's and its receiver's port give
/// each of the flows that use them, so that many senders to one node share that node's port (incast). A write whose source
/// is still being computed ends no earlier than source ready + bytes / (handover_layers × rate). Must outlive every run of
/// the world; fabrics keep it alive beyond that.
class flow_network final : public std::enable_shared_from_this<flow_network>, public alarm_target {
public:
  static std::shared_ptr<flow_network> make(world& home, flow_options options);

  /// The fabric of a node; it reports to `events`, which must outlive it.
  std::unique_ptr<transport::fabric> make_fabric(uint32_t node, transport::fabric_events& events);

  /// Asked at each write of that node, for each of its pieces.
  void on_source(uint32_t node, source_ready when);

  struct counters {
    uint64_t flows = 0;
    double read_bytes = 0;    ///< between nodes, on the wire
    double written_bytes = 0; ///< between nodes, on the wire
  };
  const counters& totals() const {
    return totals_;
  }

  void on_alarm(uint64_t what) override;

private:
  friend class flow_fabric;

  struct flow {
    flow_fabric* owner = nullptr; ///< who posted it; null once that is gone
    uint64_t through = 0;         ///< number of its endpoint
    transport::transfer work;
    uint32_t from = 0; ///< node whose port sends
    uint32_t to = 0;
    double bytes = 0;
    double share = 1; ///< of the layers
    double left = 0;
    double rate = 0; ///< bytes per second
    uint64_t posted_ns = 0;
    uint64_t source_ready_ns = 0;
    uint64_t ends_ns = 0;  ///< once `draining`
    bool draining = false; ///< its last byte has left: uses no port any more
  };

  struct endpoint {
    flow_fabric* owner = nullptr; ///< null once fenced or gone
    uint32_t node = 0;
    transport::peer_id id = 0;
    uint64_t remote = 0;                       ///< 0 before `connect`
    std::vector<transport::transfer> waiting; ///< for `connect`
  };

  flow_network(world& home, flow_options options);

  uint64_t open(flow_fabric& owner, transport::peer_id id);
  void connect(uint64_t number, uint64_t remote);
  void post(uint64_t number, transport::transfer work);
  void cancel(const flow_fabric& owner, uint64_t id);
  void close(uint64_t number, const status& why);
  void retire(flow_fabric& owner);
  void move_on();
  void share_ports();
  void finish(const flow& done);
  void record(const flow& done);

  world& home_;
  const flow_options options_;
  counters totals_;
  std::map<uint64_t, endpoint> endpoints_;
  uint64_t endpoints_made_ = 0;
  uint64_t keys_made_ = 0;
  std::vector<flow> flows_; ///< in the order in which they were posted
  std::map<uint32_t, source_ready> sources_;
  uint64_t moved_ns_ = 0;   ///< `left` of all flows is of this time
  uint64_t alarms_ = 0;     ///< number of the alarm that counts; older ones mean nothing
};

} // namespace perigee::sim
