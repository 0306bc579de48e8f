// SPDX-License-Identifier: Apache-2.0
#include "transport/local/local_fabric.hpp"

#include "transport/local/copy.hpp"
#include "transport/local/local_copier.hpp"

#include <fmt/format.h>

#include <charconv>

namespace perigee::transport {

namespace {

constexpr std::string_view address_prefix = "local:";

class local_fabric final : public fabric {
public:
  local_fabric(std::shared_ptr<local_network> network, fabric_events& events, const local_options& options)
    : options_(options), network_(std::move(network)), own_(network_->add()), events_(events),
      books_(options.transfers_max), copier_(*network_, *own_, events_, books_) {}

  std::string describe() const override {
    return fmt::format("direct copy within the process, inside the call up to {} KiB", options_.inline_bytes_max >> 10);
  }

  region_id register_memory(std::span<std::byte> memory) override {
    auto made = remote_region{network_->next_key(), 0, memory.size()};
    auto lock = std::lock_guard{own_->gate};
    own_->regions.emplace(made.key, memory);
    regions_.emplace(++regions_made_, region{memory, made});
    return regions_made_;
  }

  void deregister(region_id id) override {
    auto found = find_region(id);
    if (auto users = books_.users(id); users > 0)
      throw failure{
        errc::invalid_argument,
        fmt::format("region {} is used by {} outstanding transfers; wait for them or fence their peers first", id,
                    users)};
    auto lock = std::lock_guard{own_->gate};
    own_->regions.erase(found->second.remote.key);
    regions_.erase(found);
  }

  remote_region remote(region_id id) const override {
    return find_region(id)->second.remote;
  }

  peer_id open_peer(std::string_view name) override {
    auto made = ++peers_made_;
    open_.emplace(made);
    own_->mail.push(local_command::open{made, std::string{name}});
    auto lock = std::lock_guard{own_->gate};
    own_->open_peers.insert(made);
    return made;
  }

  std::string local_address(peer_id peer) const override {
    check_open(peer);
    return fmt::format("{}{}/{}", address_prefix, own_->number, peer);
  }

  void connect(peer_id peer, std::string_view remote_address) override {
    check_open(peer);
    auto [node, there] = parse(remote_address);
    own_->mail.push(local_command::connect{peer, node, there});
  }

  void post(transfer work) override {
    auto why = check(work);
    if (why.ok())
      why = books_.open(work.id, work.local);
    if (!why.ok()) {
      own_->mail.push(local_command::refuse{work.id, std::move(why)});
      return;
    }
    auto memory = regions_.find(work.local)->second.memory;
    if (work.peer == self_peer && total_bytes(work.pieces) <= options_.inline_bytes_max) {
      copy_now(work, memory);
      return;
    }
    auto cursor = piece_cursor{std::move(work.pieces)};
    own_->mail.push(local_command::post{
      std::make_unique<local_job>(local_job{std::move(work), memory.data(), std::move(cursor), 0})});
  }

  void cancel(uint64_t id) override {
    own_->mail.push(local_command::cancel{id});
  }

  void fence(peer_id peer) override {
    open_.erase(peer);
    own_->mail.push(local_command::fence{peer});
  }

  counters totals() const override {
    return books_.totals();
  }

private:
  struct region {
    std::span<std::byte> memory;
    remote_region remote;
  };

  std::map<region_id, region>::const_iterator find_region(region_id id) const {
    auto found = regions_.find(id);
    if (found == regions_.end())
      throw failure{errc::not_found, fmt::format("there is no region {} in this fabric", id)};
    return found;
  }

  void check_open(peer_id peer) const {
    if (!open_.contains(peer))
      throw failure{errc::not_found, fmt::format("peer {} was never opened or is fenced; open a new one", peer)};
  }

  static std::pair<uint64_t, peer_id> parse(std::string_view address) {
    auto node = uint64_t{0};
    auto there = peer_id{0};
    auto* end = address.data() + address.size();
    if (address.starts_with(address_prefix)) {
      auto first = std::from_chars(address.data() + address_prefix.size(), end, node);
      if (first.ec == std::errc{} && first.ptr != end && *first.ptr == '/') {
        auto second = std::from_chars(first.ptr + 1, end, there);
        if (second.ec == std::errc{} && second.ptr == end)
          return {node, there};
      }
    }
    throw failure{errc::invalid_argument,
                  fmt::format("'{}' is no address of a fabric of this process (local:NODE/PEER)", address)};
  }

  status check(const transfer& work) const {
    auto local = regions_.find(work.local);
    if (local == regions_.end())
      return {errc::invalid_argument, fmt::format("transfer {}: there is no local region {}", work.id, work.local)};
    if (work.peer != self_peer && !open_.contains(work.peer))
      return {errc::peer_lost,
              fmt::format("transfer {}: peer {} was never opened or is fenced; open a new one", work.id, work.peer)};
    return check_transfer(work, local->second.memory.size());
  }

  // The table of regions changes on this very thread only, so it is read without the gate.
  void copy_now(const transfer& work, std::span<std::byte> local) {
    auto target = own_->regions.find(work.remote.key);
    if (target == own_->regions.end() || target->second.size() < work.remote.bytes) {
      books_.close(events_, work,
                   {errc::io_error, fmt::format("transfer {}: this fabric has no region with key {:#x} and {} bytes",
                                                work.id, work.remote.key, work.remote.bytes)},
                   0, false);
      return;
    }
    for (const auto& part : work.pieces) {
      auto* here = local.data() + part.local_offset;
      auto* there = target->second.data() + part.remote_offset;
      if (work.op == direction::write)
        copy_bytes(there, here, part.bytes);
      else
        copy_bytes(here, there, part.bytes);
    }
    if (work.immediate)
      events_.arrived(self_peer, *work.immediate);
    books_.close(events_, work, {}, total_bytes(work.pieces), false);
  }

  const local_options options_;
  std::shared_ptr<local_network> network_;
  std::shared_ptr<local_node> own_;
  fabric_events& events_;
  ledger books_;
  std::map<region_id, region> regions_;
  region_id regions_made_ = 0;
  std::set<peer_id> open_;
  peer_id peers_made_ = self_peer;
  local_copier copier_; // last: its thread uses the others
};

} // namespace

std::unique_ptr<fabric> make_local_fabric(std::shared_ptr<local_network> network, fabric_events& events,
                                          const local_options& options) {
  return std::make_unique<local_fabric>(std::move(network), events, options);
}

} // namespace perigee::transport
