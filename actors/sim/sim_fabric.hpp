// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/sim/sim_network.hpp"
#include "transport/ledger.hpp"

#include <map>
#include <optional>

namespace perigee::sim {

/// One node's end of a `sim_network`. Transfers to `self_peer` run and report inside `post`, everything else between two
/// messages of the world.
class sim_fabric final : public transport::fabric {
public:
  sim_fabric(std::shared_ptr<sim_network> network, uint32_t node, transport::fabric_events& events);
  ~sim_fabric() override;

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

  uint32_t node() const {
    return node_;
  }

  // For the network.
  std::optional<std::span<std::byte>> local_memory(transport::region_id region) const;
  /// Nothing unless there is a region with that key of at least that size.
  std::optional<std::span<std::byte>> remote_memory(const transport::remote_region& region) const;
  void completed(const transport::transfer& work, const status& outcome, uint64_t bytes);
  void arrived(transport::peer_id from, uint32_t immediate);
  void fenced(transport::peer_id peer);
  /// Nothing is reported from now on.
  void die();

private:
  struct region {
    std::span<std::byte> memory;
    transport::remote_region remote;
  };

  const region& find_region(transport::region_id id) const;
  sim_network::endpoint& find_open(transport::peer_id peer) const;
  void refuse(uint64_t id, status why);
  void copy(const transport::transfer& work);

  std::shared_ptr<sim_network> network_;
  const uint32_t node_;
  transport::fabric_events& events_;
  transport::ledger books_;
  std::map<transport::region_id, region> regions_;
  transport::region_id regions_made_ = 0;
  std::map<transport::peer_id, sim_network::endpoint*> open_;
  transport::peer_id peers_made_ = transport::self_peer;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

} // namespace perigee::sim
