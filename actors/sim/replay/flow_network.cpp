// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/replay/flow_network.hpp"

#include "actors/sim/replay/flow_fabric.hpp"
#include "transport/plan.hpp"

#include <algorithm>

namespace perigee::sim {

namespace {

constexpr double second_ns = 1e9;
constexpr double nothing_left = 0.5; // bytes

/// The first whole nanosecond at which so many seconds have passed.
uint64_t whole_ns(double seconds) {
  return static_cast<uint64_t>(seconds * second_ns) + 1;
}

} // namespace

std::shared_ptr<flow_network> flow_network::make(world& home, flow_options options) {
  return std::shared_ptr<flow_network>{new flow_network{home, options}};
}

flow_network::flow_network(world& home, flow_options options) : home_(home), options_(options) {}

std::unique_ptr<transport::fabric> flow_network::make_fabric(uint32_t node, transport::fabric_events& events) {
  return std::make_unique<flow_fabric>(shared_from_this(), node, events);
}

void flow_network::on_source(uint32_t node, source_ready when) {
  sources_[node] = std::move(when);
}

uint64_t flow_network::open(flow_fabric& owner, transport::peer_id id) {
  endpoints_[++endpoints_made_] = {&owner, owner.node_, id, 0, {}};
  return endpoints_made_;
}

void flow_network::connect(uint64_t number, uint64_t remote) {
  auto& from = endpoints_.at(number);
  from.remote = remote;
  for (auto& work : std::exchange(from.waiting, {}))
    post(number, std::move(work));
}

void flow_network::post(uint64_t number, transport::transfer work) {
  auto& from = endpoints_.at(number);
  if (from.remote == 0) {
    from.waiting.push_back(std::move(work));
    return;
  }
  auto there = endpoints_.find(from.remote);
  auto added = flow{};
  added.owner = from.owner;
  added.through = number;
  auto reading = work.op == transport::direction::read;
  auto other = there == endpoints_.end() ? from.node : there->second.node;
  added.from = reading ? other : from.node;
  added.to = reading ? from.node : other;
  added.bytes = added.left = static_cast<double>(transport::total_bytes(work.pieces)) * options_.bytes_scale;
  if (!work.pieces.empty())
    added.share =
      std::min(1.0, static_cast<double>(work.pieces.front().bytes) / static_cast<double>(options_.block_bytes));
  (reading ? totals_.read_bytes : totals_.written_bytes) += added.bytes;
  if (auto source = sources_.find(from.node); !reading && source != sources_.end())
    for (const auto& part : work.pieces)
      added.source_ready_ns =
        std::max(added.source_ready_ns, source->second(from.owner->local_memory(work.local) + part.local_offset));
  added.posted_ns = home_.now();
  added.work = std::move(work);
  ++totals_.flows;
  move_on();
  flows_.push_back(std::move(added));
  share_ports();
}

void flow_network::cancel(const flow_fabric& owner, uint64_t id) {
  auto at =
    std::find_if(flows_.begin(), flows_.end(), [&](const flow& it) { return it.owner == &owner && it.work.id == id; });
  if (at == flows_.end() || at->draining)
    return; // What has left its port arrives.
  move_on();
  auto ended = std::move(*at);
  flows_.erase(at);
  share_ports();
  ended.owner->books_.close(ended.owner->events_, ended.work, {errc::cancelled, ""}, 0, true);
}

void flow_network::close(uint64_t number, const status& why) {
  auto at = endpoints_.find(number);
  if (at == endpoints_.end())
    return;
  auto gone = std::move(at->second);
  endpoints_.erase(at);
  move_on();
  auto ended = std::vector<flow>{};
  std::erase_if(flows_, [&](flow& it) {
    if (it.through != number)
      return false;
    ended.push_back(std::move(it));
    return true;
  });
  share_ports();
  for (auto& it : ended)
    gone.owner->books_.close(gone.owner->events_, it.work, why, 0, true);
  for (auto& work : gone.waiting)
    gone.owner->books_.close(gone.owner->events_, work, why, 0, true);
}

void flow_network::retire(flow_fabric& owner) {
  std::erase_if(flows_, [&](const flow& it) { return it.owner == &owner; });
  std::erase_if(endpoints_, [&](const auto& it) { return it.second.owner == &owner; });
}

void flow_network::on_alarm(uint64_t what) {
  if (what != alarms_)
    return;
  move_on();
  auto now = home_.now();
  auto done = std::vector<flow>{};
  for (auto& it : flows_) {
    if (!it.draining && it.left <= nothing_left) {
      it.draining = true;
      auto layers = std::max(1.0, options_.handover_layers * it.share);
      auto exposed = it.source_ready_ns + whole_ns(it.bytes / (layers * it.rate));
      it.ends_ns = std::max(now, it.source_ready_ns == 0 ? 0 : exposed) + options_.latency_ns;
    }
  }
  std::erase_if(flows_, [&](flow& it) {
    if (!it.draining || it.ends_ns > now)
      return false;
    done.push_back(std::move(it));
    return true;
  });
  share_ports();
  for (const auto& it : done)
    finish(it);
}

/// Takes off what has been sent since the last time.
void flow_network::move_on() {
  auto seconds = static_cast<double>(home_.now() - moved_ns_) / second_ns;
  moved_ns_ = home_.now();
  for (auto& it : flows_)
    if (!it.draining)
      it.left = std::max(0.0, it.left - it.rate * seconds);
}

/// Gives each flow its rate, and sets the alarm for the next one that ends.
void flow_network::share_ports() {
  auto sending = std::map<uint32_t, uint32_t>{};
  auto receiving = std::map<uint32_t, uint32_t>{};
  for (const auto& it : flows_)
    if (!it.draining) {
      ++sending[it.from];
      ++receiving[it.to];
    }
  auto next_ns = UINT64_MAX;
  for (auto& it : flows_) {
    if (!it.draining)
      it.rate = options_.bytes_per_second / std::max(sending[it.from], receiving[it.to]);
    next_ns = std::min(next_ns, it.draining ? it.ends_ns : moved_ns_ + whole_ns(it.left / it.rate));
  }
  ++alarms_;
  if (next_ns != UINT64_MAX)
    home_.alarm(next_ns - home_.now(), *this, alarms_);
}

void flow_network::record(const flow& done) {
  auto tokens = done.bytes / options_.bytes_token;
  if (done.work.op == transport::direction::read)
    options_.recorder->fetched(done.to, done.posted_ns, home_.now(), tokens);
  else if (done.work.immediate)
    options_.recorder->handed_over(done.to, *done.work.immediate, done.posted_ns, home_.now(), tokens);
}

void flow_network::finish(const flow& done) {
  if (options_.recorder != nullptr)
    record(done);
  auto here = endpoints_.find(done.through);
  if (here == endpoints_.end())
    return;
  auto there = endpoints_.find(here->second.remote);
  if (there == endpoints_.end()) {
    done.owner->books_.close(done.owner->events_, done.work, {errc::peer_lost, "the peer closed the connection"}, 0,
                             true);
    return;
  }
  if (done.work.immediate)
    there->second.owner->events_.arrived(there->second.id, *done.work.immediate);
  done.owner->books_.close(done.owner->events_, done.work, {}, transport::total_bytes(done.work.pieces), true);
}

} // namespace perigee::sim
