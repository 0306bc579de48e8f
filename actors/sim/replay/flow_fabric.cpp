// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/replay/flow_fabric.hpp"

#include "transport/plan.hpp"

#include <charconv>

namespace perigee::sim {

namespace {

constexpr std::string_view address_prefix = "flow:";
constexpr uint32_t transfers_max = 65'536;

} // namespace

flow_fabric::flow_fabric(std::shared_ptr<flow_network> network, uint32_t node, transport::fabric_events& events)
  : network_(std::move(network)), node_(node), events_(events), books_(transfers_max) {}

flow_fabric::~flow_fabric() {
  *alive_ = false;
  network_->retire(*this);
}

std::string flow_fabric::describe() const {
  return "flows, " + std::to_string(network_->options_.bytes_per_second / 1e9) + " GB/s each way";
}

transport::region_id flow_fabric::register_memory(std::span<std::byte> memory) {
  regions_.emplace(++regions_made_, region{memory, {++network_->keys_made_, 0, memory.size()}});
  return regions_made_;
}

void flow_fabric::deregister(transport::region_id region) {
  regions_.erase(region);
}

transport::remote_region flow_fabric::remote(transport::region_id region) const {
  return regions_.at(region).remote;
}

transport::peer_id flow_fabric::open_peer(std::string_view) {
  auto made = ++peers_made_;
  open_.emplace(made, network_->open(*this, made));
  return made;
}

uint64_t flow_fabric::number_of(transport::peer_id peer) const {
  auto at = open_.find(peer);
  if (at == open_.end())
    throw failure{errc::not_found, "peer " + std::to_string(peer) + " was never opened or is fenced; open a new one"};
  return at->second;
}

std::string flow_fabric::local_address(transport::peer_id peer) const {
  return std::string{address_prefix} + std::to_string(number_of(peer));
}

void flow_fabric::connect(transport::peer_id peer, std::string_view remote_address) {
  uint64_t number = 0;
  const auto* end = remote_address.data() + remote_address.size();
  auto good = remote_address.starts_with(address_prefix);
  if (good) {
    auto parsed = std::from_chars(remote_address.data() + address_prefix.size(), end, number);
    good = parsed.ec == std::errc{} && parsed.ptr == end && number != 0;
  }
  if (!good)
    throw failure{errc::invalid_argument,
                  "'" + std::string{remote_address} + "' is no address of a flow network (flow:NUMBER)"};
  network_->connect(number_of(peer), number);
}

void flow_fabric::post(transport::transfer work) {
  auto refuse = [&](errc code, const std::string& why) {
    network_->home_.at(0, [this, alive = alive_, id = work.id, refusal = status{code, why}] {
      if (*alive)
        books_.refuse(events_, id, refusal);
    });
  };
  auto local = regions_.find(work.local);
  if (local == regions_.end())
    return refuse(errc::invalid_argument, "there is no local region " + std::to_string(work.local));
  if (work.peer != transport::self_peer && !open_.contains(work.peer))
    return refuse(errc::peer_lost, "peer " + std::to_string(work.peer) + " is not open");
  auto why = transport::check_transfer(work, local->second.memory.size());
  if (why.ok())
    why = books_.open(work.id, work.local);
  if (!why.ok())
    return refuse(why.code, why.context);
  if (work.peer != transport::self_peer)
    return network_->post(open_.at(work.peer), std::move(work));
  if (work.immediate)
    events_.arrived(transport::self_peer, *work.immediate);
  books_.close(events_, work, {}, transport::total_bytes(work.pieces), false);
}

void flow_fabric::cancel(uint64_t id) {
  network_->cancel(*this, id);
}

void flow_fabric::fence(transport::peer_id peer) {
  auto at = open_.find(peer);
  if (at == open_.end())
    return;
  auto number = at->second;
  open_.erase(at);
  network_->home_.at(0, [this, alive = alive_, number, peer] {
    if (!*alive)
      return;
    network_->close(number, {errc::peer_lost, "the peer was fenced"});
    events_.fenced(peer);
  });
}

transport::fabric::counters flow_fabric::totals() const {
  return books_.totals();
}

const std::byte* flow_fabric::local_memory(transport::region_id region) const {
  return regions_.at(region).memory.data();
}

} // namespace perigee::sim
