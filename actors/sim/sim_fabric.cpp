// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/sim_fabric.hpp"

#include <charconv>
#include <cstring>

namespace perigee::sim {

namespace {

constexpr std::string_view address_prefix = "sim:";

status failed(errc code, uint64_t id, const std::string& why) {
  return {code, "transfer " + std::to_string(id) + ": " + why};
}

} // namespace

sim_fabric::sim_fabric(std::shared_ptr<sim_network> network, uint32_t node, transport::fabric_events& events)
  : network_(std::move(network)), node_(node), events_(events), books_(network_->options_.transfers_max) {
  network_->fabrics_.push_back(this);
}

sim_fabric::~sim_fabric() {
  if (*alive_)
    network_->retire(*this);
  *alive_ = false;
}

void sim_fabric::die() {
  *alive_ = false;
}

std::string sim_fabric::describe() const {
  return "simulated, " + std::to_string(network_->options_.bytes_per_second) + " bytes/s each way";
}

transport::region_id sim_fabric::register_memory(std::span<std::byte> memory) {
  // Keys mean nothing; that they are no small numbers keeps a wrong one from being right by chance.
  auto key = derived_seed(++network_->keys_made_, "region");
  regions_.emplace(++regions_made_, region{memory, {key, 0, memory.size()}});
  return regions_made_;
}

void sim_fabric::deregister(transport::region_id id) {
  find_region(id);
  if (auto users = books_.users(id); users > 0)
    throw failure{errc::invalid_argument, "region " + std::to_string(id) + " is used by " + std::to_string(users)
                                            + " outstanding transfers; wait for them or fence their peers first"};
  regions_.erase(id);
}

transport::remote_region sim_fabric::remote(transport::region_id id) const {
  return find_region(id).remote;
}

transport::peer_id sim_fabric::open_peer(std::string_view) {
  auto made = ++peers_made_;
  open_.emplace(made, &network_->open(*this, node_, made));
  return made;
}

std::string sim_fabric::local_address(transport::peer_id peer) const {
  return std::string{address_prefix} + std::to_string(find_open(peer).number);
}

void sim_fabric::connect(transport::peer_id peer, std::string_view remote_address) {
  auto& from = find_open(peer);
  uint64_t number = 0;
  const auto* end = remote_address.data() + remote_address.size();
  auto good = remote_address.starts_with(address_prefix);
  if (good) {
    auto parsed = std::from_chars(remote_address.data() + address_prefix.size(), end, number);
    good = parsed.ec == std::errc{} && parsed.ptr == end && number != 0;
  }
  if (!good)
    throw failure{errc::invalid_argument,
                  "'" + std::string{remote_address} + "' is no address of a simulated fabric (sim:NUMBER)"};
  network_->connect(from, number);
}

void sim_fabric::post(transport::transfer work) {
  auto local = regions_.find(work.local);
  if (local == regions_.end())
    return refuse(work.id, failed(errc::invalid_argument, work.id, "there is no local region " + std::to_string(work.local)));
  if (work.peer != transport::self_peer && !open_.contains(work.peer))
    return refuse(work.id, failed(errc::peer_lost, work.id, "peer " + std::to_string(work.peer) + " is not open"));
  auto why = transport::check_transfer(work, local->second.memory.size());
  if (why.ok())
    why = books_.open(work.id, work.local);
  if (!why.ok())
    return refuse(work.id, std::move(why));
  if (work.peer == transport::self_peer)
    return copy(work);
  network_->post(*open_.at(work.peer), std::move(work));
}

void sim_fabric::cancel(uint64_t id) {
  for (const auto& [peer, end] : open_)
    network_->cancel(*end, id);
}

void sim_fabric::fence(transport::peer_id peer) {
  auto at = open_.find(peer);
  if (at == open_.end())
    return;
  auto& end = *at->second;
  open_.erase(at);
  network_->fence(end);
}

transport::fabric::counters sim_fabric::totals() const {
  return books_.totals();
}

std::optional<std::span<std::byte>> sim_fabric::local_memory(transport::region_id id) const {
  auto at = regions_.find(id);
  if (at == regions_.end())
    return std::nullopt;
  return at->second.memory;
}

std::optional<std::span<std::byte>> sim_fabric::remote_memory(const transport::remote_region& wanted) const {
  for (const auto& [id, mine] : regions_)
    if (mine.remote.key == wanted.key && mine.remote.bytes >= wanted.bytes)
      return mine.memory;
  return std::nullopt;
}

void sim_fabric::completed(const transport::transfer& work, const status& outcome, uint64_t bytes) {
  if (*alive_)
    books_.close(events_, work, outcome, bytes, true);
}

void sim_fabric::arrived(transport::peer_id from, uint32_t immediate) {
  if (*alive_)
    events_.arrived(from, immediate);
}

void sim_fabric::fenced(transport::peer_id peer) {
  if (*alive_)
    events_.fenced(peer);
}

const sim_fabric::region& sim_fabric::find_region(transport::region_id id) const {
  auto at = regions_.find(id);
  if (at == regions_.end())
    throw failure{errc::not_found, "there is no region " + std::to_string(id) + " in this fabric"};
  return at->second;
}

sim_network::endpoint& sim_fabric::find_open(transport::peer_id peer) const {
  auto at = open_.find(peer);
  if (at == open_.end())
    throw failure{errc::not_found, "peer " + std::to_string(peer) + " was never opened or is fenced; open a new one"};
  return *at->second;
}

void sim_fabric::refuse(uint64_t id, status why) {
  // All after the same time, so that refusals stay in order.
  network_->home_.at(network_->options_.latency_ns_min, [this, alive = alive_, id, why = std::move(why)] {
    if (*alive)
      books_.refuse(events_, id, why);
  });
}

void sim_fabric::copy(const transport::transfer& work) {
  auto here = *local_memory(work.local);
  auto there = remote_memory(work.remote);
  if (!there) {
    books_.close(events_, work, failed(errc::io_error, work.id, "this fabric has no such region"), 0, false);
    return;
  }
  uint64_t bytes = 0;
  for (const auto& part : work.pieces) {
    auto* mine = here.data() + part.local_offset;
    auto* theirs = there->data() + part.remote_offset;
    if (part.bytes > 0)
      std::memmove(work.op == transport::direction::write ? theirs : mine,
                   work.op == transport::direction::write ? mine : theirs, part.bytes);
    bytes += part.bytes;
  }
  if (work.immediate)
    events_.arrived(transport::self_peer, *work.immediate);
  books_.close(events_, work, {}, bytes, false);
}

} // namespace perigee::sim
