// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/sim/replay/flow_network.hpp"
#include "transport/ledger.hpp"

namespace perigee::sim {

/// One node's end of a `flow_network`. Transfers to `self_peer` end inside `post`: memory within a node costs no time.
class flow_fabric final : public transport::fabric {
public:
  flow_fabric(std::shared_ptr<flow_network> network, uint32_t node, transport::fabric_events& events);
  ~flow_fabric() override;

  std::string describe() const override;
  transport::region_id register_memory(std::span<std::byte> memory) override;
  void deregister(transport::region_id region) override;
  transport::remote_region remote(transport::region_id region) const override;
  transport::peer_id open_peer(std::string_view name) override;
  std::string local_address(transport::peer_id peer) const override;
  void connect(transport::peer_id peer, std::string_view remote_address) override;
  void post(transport::transfer work) override;
  void cancel(uint64_t id) override;
  void fence(transport::peer_id peer) override;
  counters totals() const override;

private:
  friend class flow_network;

  struct region {
    std::span<std::byte> memory;
    transport::remote_region remote;
  };

  uint64_t number_of(transport::peer_id peer) const;
  const std::byte* local_memory(transport::region_id region) const;

  std::shared_ptr<flow_network> network_;
  const uint32_t node_;
  transport::fabric_events& events_;
  transport::ledger books_;
  std::map<transport::region_id, region> regions_;
  transport::region_id regions_made_ = 0;
  std::map<transport::peer_id, uint64_t> open_; ///< numbers of endpoints
  transport::peer_id peers_made_ = transport::self_peer;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

} // namespace perigee::sim
