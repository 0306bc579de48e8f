// SPDX-License-Identifier: Apache-2.0
#include "tests/actors/transfer/fake_network.hpp"

#include "transport/plan.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <utility>

namespace perigee::testing {

struct fake_network::node_state {
  uint32_t number = 0;
  bool alive = true;
  transport::fabric_events* events = nullptr;
  std::map<transport::peer_id, std::shared_ptr<endpoint>> endpoints;
  std::map<transport::region_id, uint64_t> regions; // keys
  std::map<uint64_t, std::shared_ptr<job>> jobs;
};

struct fake_network::endpoint {
  std::string address;
  std::string remote; // empty until connected
  transport::peer_id id = 0;
  std::shared_ptr<node_state> node;
  bool closing = false; // fenced, not reported yet
  bool closed = false;  // reported: nothing lands through it any more
  std::vector<std::shared_ptr<job>> waiting;
};

struct fake_network::job {
  transport::transfer work;
  std::shared_ptr<node_state> node;
  std::string target; // address of the endpoint that it lands through; empty within a node
  uint64_t bytes = 0;
  std::vector<uint64_t> stamps;
  std::vector<std::byte> content; // of a write, taken when it completes locally or lands, whichever is first
  bool taken = false;
  bool stubborn = false;
  bool stuck = false;
  bool over = false; // reported
  bool failed = false;
};

class fake_fabric final : public transport::fabric {
public:
  fake_fabric(fake_network& net, std::shared_ptr<fake_network::node_state> node) : net_(net), node_(std::move(node)) {
    auto self = std::make_shared<fake_network::endpoint>();
    self->id = transport::self_peer;
    self->node = node_;
    node_->endpoints[transport::self_peer] = self;
  }

  ~fake_fabric() override {
    node_->alive = false;
    node_->events = nullptr;
    for (const auto& [region, key] : node_->regions)
      net_.memory_.erase(key);
    for (const auto& [id, it] : node_->endpoints)
      it->node.reset();
    node_->jobs.clear();
  }

  std::string describe() const override {
    return "fake";
  }

  transport::region_id register_memory(std::span<std::byte> memory) override {
    auto region = static_cast<transport::region_id>(node_->regions.size());
    auto key = ++net_.made_;
    node_->regions[region] = key;
    net_.memory_[key] = memory;
    net_.owner_of_memory_[key] = node_->number;
    return region;
  }

  void deregister(transport::region_id region) override {
    net_.memory_.erase(node_->regions.at(region));
    node_->regions.erase(region);
  }

  transport::remote_region remote(transport::region_id region) const override {
    auto key = node_->regions.at(region);
    return {key, 0, net_.memory_.at(key).size()};
  }

  transport::peer_id open_peer(std::string_view) override {
    auto added = std::make_shared<fake_network::endpoint>();
    added->id = ++peers_made_;
    added->node = node_;
    added->address = "fake:" + std::to_string(++net_.made_);
    node_->endpoints[added->id] = added;
    net_.endpoints_[added->address] = added;
    return added->id;
  }

  std::string local_address(transport::peer_id peer) const override {
    return node_->endpoints.at(peer)->address;
  }

  void connect(transport::peer_id peer, std::string_view remote_address) override {
    auto& it = *node_->endpoints.at(peer);
    REQUIRE(it.remote.empty()); // an endpoint is used for one pairing
    REQUIRE_FALSE(it.closing);
    it.remote = remote_address;
    for (auto& work : std::exchange(it.waiting, {}))
      net_.start(work);
  }

  void post(transport::transfer work) override {
    auto added = std::make_shared<fake_network::job>();
    REQUIRE_FALSE(node_->jobs.contains(work.id));
    added->work = std::move(work);
    added->node = node_;
    added->bytes = transport::total_bytes(added->work.pieces);
    node_->jobs[added->work.id] = added;
    if (net_.stamp && added->work.op == transport::direction::write)
      for (const auto& piece : added->work.pieces)
        added->stamps.push_back(net_.stamp(added->work.remote.key, piece.remote_offset));
    auto& through = *node_->endpoints.at(added->work.peer);
    REQUIRE_FALSE(through.closing);
    if (added->work.peer != transport::self_peer && through.remote.empty())
      through.waiting.push_back(added);
    else
      net_.start(added);
  }

  void cancel(uint64_t id) override {
    auto at = node_->jobs.find(id);
    if (at == node_->jobs.end() || at->second->stubborn)
      return;
    net_.after(net_.faults_.delay_ns_max, [&net = net_, work = at->second] {
      net.end(work, {errc::cancelled, "cancelled"});
    });
  }

  void fence(transport::peer_id peer) override {
    auto it = node_->endpoints.at(peer);
    REQUIRE_FALSE(it->closing);
    it->closing = true;
    for (const auto& [id, work] : std::map{node_->jobs})
      if (work->work.peer == peer)
        net_.after(0, [&net = net_, work = work] { net.end(work, {errc::peer_lost, "fenced"}); });
    net_.after(net_.faults_.delay_ns_max, [it] {
      it->closed = true;
      if (it->node && it->node->events)
        it->node->events->fenced(it->id);
    });
  }

  counters totals() const override {
    return {};
  }

private:
  fake_network& net_;
  std::shared_ptr<fake_network::node_state> node_;
  transport::peer_id peers_made_ = 0;
};

fake_network::fake_network(uint64_t seed, after_function after)
  : after_(std::move(after)), random_(sim::derived_seed(seed, "fake-network")) {}

fake_network::~fake_network() = default;

std::unique_ptr<transport::fabric> fake_network::make(uint32_t node, transport::fabric_events& events) {
  auto added = std::make_shared<node_state>();
  added->number = node;
  added->events = &events;
  return std::make_unique<fake_fabric>(*this, std::move(added));
}

void fake_network::after(uint64_t delay_max, std::function<void()> action) {
  after_(1 + random_.below(delay_max + 1), std::move(action));
}

void fake_network::start(const std::shared_ptr<job>& work) {
  work->target = work->node->endpoints.at(work->work.peer)->remote;
  auto within = work->target.empty();
  if (!within && random_.chance(faults_.stuck_ppm)) {
    ++totals_.stuck;
    work->stuck = true;
    work->stubborn = random_.chance(faults_.stubborn_ppm);
  }
  if (work->work.op == transport::direction::read) {
    if (!work->stuck)
      after(faults_.delay_ns_max, [this, work] { copy_read(work); });
    return;
  }
  auto refused = !within && random_.chance(faults_.refused_ppm);
  auto late = !within && random_.chance(faults_.late_ppm);
  auto complete = [this, work, refused] { end(work, refused ? status{errc::io_error, "refused"} : status{}); };
  if (within || (!late && !work->stuck && !refused && random_.chance(500'000))) {
    // An honest one: it completes when it has landed.
    after(faults_.delay_ns_max, [this, work, complete] {
      land(work);
      complete();
    });
    return;
  }
  if (!work->stuck)
    after(faults_.delay_ns_max, complete);
  if (within || !random_.chance(faults_.lost_ppm))
    after(late || work->stuck ? faults_.late_ns_max : faults_.delay_ns_max, [this, work] { land(work); });
}

void fake_network::land(const std::shared_ptr<job>& work) {
  auto to = std::shared_ptr<endpoint>{};
  if (!work->target.empty()) {
    auto at = endpoints_.find(work->target);
    to = at == endpoints_.end() ? nullptr : at->second.lock();
    if (!to || to->closed || !to->node || !to->node->alive) {
      ++totals_.fenced_off;
      return;
    }
  }
  auto local = work->node->alive ? memory_.find(work->node->regions.at(work->work.local)) : memory_.end();
  auto remote = memory_.find(work->work.remote.key);
  if (remote == memory_.end() || (!work->taken && local == memory_.end()))
    return;
  ++totals_.landed;
  totals_.landed_after_end += work->over && work->failed;
  auto used = size_t{0};
  for (size_t i = 0; i < work->work.pieces.size(); ++i) {
    const auto& piece = work->work.pieces[i];
    if (on_landing)
      on_landing({owner_of_memory_.at(work->work.remote.key), work->work.remote.key, piece.remote_offset, piece.bytes,
                  i < work->stamps.size() ? work->stamps[i] : 0});
    const auto* from = work->taken ? work->content.data() + used : local->second.data() + piece.local_offset;
    std::memcpy(remote->second.data() + piece.remote_offset, from, piece.bytes);
    used += piece.bytes;
  }
  auto& node = to ? *to->node : *work->node;
  if (work->work.immediate && node.events)
    node.events->arrived(to ? to->id : transport::self_peer, *work->work.immediate);
}

void fake_network::copy_read(const std::shared_ptr<job>& work) {
  if (work->over || !work->node->alive)
    return;
  auto remote = memory_.find(work->work.remote.key);
  if (remote == memory_.end())
    return end(work, {errc::peer_lost, "no such memory"});
  if (random_.chance(faults_.refused_ppm))
    return end(work, {errc::io_error, "refused"});
  auto local = memory_.at(work->node->regions.at(work->work.local));
  // Piece by piece, at different times, so that an unprotected block is seen to change.
  for (auto& piece : work->work.pieces)
    if (piece.bytes != 0) {
      std::memcpy(local.data() + piece.local_offset, remote->second.data() + piece.remote_offset, piece.bytes);
      piece.bytes = 0;
      after(faults_.delay_ns_max, [this, work] { copy_read(work); });
      return;
    }
  end(work, {});
}

void fake_network::end(const std::shared_ptr<job>& work, status outcome) {
  if (work->over || !work->node->alive)
    return;
  work->over = true;
  work->failed = !outcome.ok();
  // The caller may reuse local memory: what lands later has the bytes of now.
  if (work->work.op == transport::direction::write && !work->taken) {
    auto local = memory_.at(work->node->regions.at(work->work.local));
    for (const auto& piece : work->work.pieces)
      work->content.insert(work->content.end(), local.begin() + static_cast<std::ptrdiff_t>(piece.local_offset),
                           local.begin() + static_cast<std::ptrdiff_t>(piece.local_offset + piece.bytes));
    work->taken = true;
  }
  work->node->jobs.erase(work->work.id);
  auto bytes = outcome.ok() ? work->bytes : 0;
  if (work->node->events)
    work->node->events->completed(work->work.id, std::move(outcome), bytes);
}

} // namespace perigee::testing
