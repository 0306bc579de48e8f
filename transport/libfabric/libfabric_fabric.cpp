// SPDX-License-Identifier: Apache-2.0
#include "transport/libfabric/libfabric_fabric.hpp"

#include "transport/libfabric/engine.hpp"
#include "transport/local/local_fabric.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace perigee::transport {

namespace {

class libfabric_fabric final : public fabric {
public:
  libfabric_fabric(const libfabric_options& options, fabric_events& events)
    : books_(options.transfers_max), engine_(options, events, books_),
      local_(make_local_fabric(make_local_network(), events, {.transfers_max = options.transfers_max})) {}

  std::string describe() const override {
    return engine_.describe();
  }

  region_id register_memory(std::span<std::byte> memory) override {
    auto id = ++regions_made_;
    auto view = engine_.register_memory(id, memory);
    regions_.emplace(id, region{view, local_->register_memory(memory)});
    return id;
  }

  void deregister(region_id id) override {
    auto found = find_region(id);
    if (auto users = books_.users(id); users > 0)
      throw failure{
        errc::invalid_argument,
        fmt::format("region {} is used by {} outstanding transfers; wait for them or fence their peers first", id,
                    users)};
    local_->deregister(found->second.local);
    engine_.deregister(id);
    regions_.erase(found);
  }

  remote_region remote(region_id id) const override {
    return find_region(id)->second.view.remote;
  }

  peer_id open_peer(std::string_view name) override {
    auto id = ++peers_made_;
    peers_.emplace(id, engine_.open_peer(id, std::string{name}));
    return id;
  }

  std::string local_address(peer_id peer) const override {
    return find_peer(peer)->second;
  }

  void connect(peer_id peer, std::string_view remote_address) override {
    find_peer(peer);
    engine_.connect(peer, std::string{remote_address});
  }

  void post(transfer work) override {
    if (work.peer == self_peer)
      return post_to_self(std::move(work));
    auto why = check(work);
    if (why.ok())
      why = books_.open(work.id, work.local);
    if (!why.ok())
      return engine_.refuse(work.id, std::move(why));
    const auto& view = regions_.find(work.local)->second.view;
    auto cursor = piece_cursor{std::move(work.pieces)};
    engine_.post(std::make_unique<provider_job>(provider_job{.work = std::move(work),
                                                             .local = view.memory.data(),
                                                             .descriptor = view.descriptor,
                                                             .cursor = std::move(cursor),
                                                             .next = {},
                                                             .result = {}}));
  }

  void cancel(uint64_t id) override {
    engine_.cancel(id);
    local_->cancel(id);
  }

  void fence(peer_id peer) override {
    peers_.erase(peer);
    engine_.fence(peer);
  }

  counters totals() const override {
    auto sum = books_.totals();
    auto copied = local_->totals();
    sum.copied_bytes += copied.copied_bytes;
    sum.failed_transfers += copied.failed_transfers;
    return sum;
  }

private:
  struct region {
    engine::region_view view;
    region_id local = 0; // its name in local_
  };

  std::map<region_id, region>::const_iterator find_region(region_id id) const {
    auto found = regions_.find(id);
    if (found == regions_.end())
      throw failure{errc::not_found, fmt::format("there is no region {} in this fabric", id)};
    return found;
  }

  std::map<peer_id, std::string>::const_iterator find_peer(peer_id peer) const {
    auto found = peers_.find(peer);
    if (found == peers_.end())
      throw failure{errc::not_found, fmt::format("peer {} was never opened or is fenced; open a new one", peer)};
    return found;
  }

  status check(const transfer& work) const {
    auto local = regions_.find(work.local);
    if (local == regions_.end())
      return {errc::invalid_argument, fmt::format("transfer {}: there is no local region {}", work.id, work.local)};
    if (work.peer != self_peer && !peers_.contains(work.peer))
      return {errc::peer_lost,
              fmt::format("transfer {}: peer {} was never opened or is fenced; open a new one", work.id, work.peer)};
    return check_transfer(work, local->second.view.memory.size());
  }

  void post_to_self(transfer work) {
    auto why = check(work);
    auto target = std::find_if(regions_.begin(), regions_.end(),
                               [&](const auto& entry) { return entry.second.view.remote == work.remote; });
    if (why.ok() && target == regions_.end())
      why = {errc::io_error, fmt::format("transfer {}: this fabric has no region with key {:#x} and {} bytes", work.id,
                                         work.remote.key, work.remote.bytes)};
    if (!why.ok())
      return engine_.refuse(work.id, std::move(why));
    work.local = regions_.find(work.local)->second.local;
    work.remote = local_->remote(target->second.local);
    local_->post(std::move(work));
  }

  ledger books_;
  std::map<region_id, region> regions_;
  region_id regions_made_ = 0;
  std::map<peer_id, std::string> peers_; // and what each must connect to
  peer_id peers_made_ = self_peer;
  engine engine_;
  std::unique_ptr<fabric> local_; // copies for `self_peer`
};

} // namespace

std::unique_ptr<fabric> make_libfabric(const libfabric_options& options, fabric_events& events) {
  return std::make_unique<libfabric_fabric>(options, events);
}

} // namespace perigee::transport
