// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/sim_network.hpp"

#include "actors/core/marker.hpp"
#include "actors/sim/sim_fabric.hpp"

#include <algorithm>
#include <cstring>

namespace perigee::sim {

namespace {

constexpr uint64_t second_ns = 1'000'000'000;

std::pair<uint32_t, uint32_t> ordered(uint32_t a, uint32_t b) {
  return std::minmax(a, b);
}

} // namespace

std::shared_ptr<sim_network> sim_network::make(world& home, fabric_options options) {
  return std::shared_ptr<sim_network>{new sim_network{home, options}};
}

sim_network::sim_network(world& home, fabric_options options)
  : home_(home), options_(options), random_(home.random("fabric")) {}

std::unique_ptr<transport::fabric> sim_network::make_fabric(uint32_t node, transport::fabric_events& events) {
  return std::make_unique<sim_fabric>(shared_from_this(), node, events);
}

void sim_network::cut(uint32_t a, uint32_t b) {
  cuts_.insert(ordered(a, b));
}

void sim_network::heal(uint32_t a, uint32_t b) {
  cuts_.erase(ordered(a, b));
  advance_all();
}

void sim_network::freeze(uint32_t node) {
  frozen_.insert(node);
}

void sim_network::thaw(uint32_t node) {
  frozen_.erase(node);
  advance_all();
}

void sim_network::kill(uint32_t node) {
  auto all = fabrics_;
  for (auto* one : all)
    if (one->node() == node) {
      retire(*one);
      one->die();
    }
}

sim_network::endpoint& sim_network::open(sim_fabric& owner, uint32_t node, transport::peer_id id) {
  auto number = ++endpoints_made_;
  auto made = std::make_unique<endpoint>();
  made->owner = &owner;
  made->node = node;
  made->number = number;
  made->id = id;
  return *endpoints_.emplace(number, std::move(made)).first->second;
}

sim_network::endpoint* sim_network::find(uint64_t number) {
  auto at = endpoints_.find(number);
  return at == endpoints_.end() ? nullptr : at->second.get();
}

void sim_network::connect(endpoint& from, uint64_t to) {
  from.remote = to;
  home_.at(latency(), [this, &from] { advance(from); });
}

void sim_network::post(endpoint& from, transport::transfer work) {
  auto made = std::make_shared<job>(job{std::move(work), transport::piece_cursor{{}}});
  made->bytes = transport::total_bytes(made->work.pieces);
  made->cursor = transport::piece_cursor{made->work.pieces};
  from.jobs.push_back(made);
  home_.at(latency(), [this, &from, made] {
    if (from.broken)
      report(from, made, {errc::peer_lost, "the connection is broken; fence the peer and open a new one"});
    else
      advance(from);
  });
}

void sim_network::cancel(endpoint& from, uint64_t id) {
  auto at = std::find_if(from.jobs.begin(), from.jobs.end(), [id](const auto& it) { return it->work.id == id; });
  if (at == from.jobs.end())
    return;
  home_.at(latency(), [this, &from, work = *at] {
    if (work->reported || work->sent_all)
      return;
    work->cancelled = true;
    linger(from, work);
    report(from, work, {errc::cancelled, ""});
    advance(from);
  });
}

void sim_network::fence(endpoint& which) {
  home_.at(random_.between(latency(), options_.fence_ns_max), [this, &which] {
    if (which.closed)
      return;
    which.closed = true;
    auto outstanding = which.jobs;
    for (const auto& work : outstanding)
      report(which, work, {errc::peer_lost, "the peer was fenced"});
    which.owner->fenced(which.id);
    if (auto* other = find(which.remote); other != nullptr && other->remote == which.number)
      notice(*other);
  });
}

void sim_network::retire(sim_fabric& owner) {
  std::erase(fabrics_, &owner);
  for (auto& [number, end] : endpoints_) {
    if (end->owner != &owner)
      continue;
    if (!end->closed && !home_.ending())
      if (auto work = next_job(*end))
        linger(*end, work);
    end->closed = true;
    end->owner = nullptr;
    end->jobs.clear();
    if (auto* other = find(end->remote); other != nullptr && other->remote == number)
      notice(*other);
  }
}

sim_network::job_ptr sim_network::next_job(endpoint& from) {
  auto at = std::find_if(from.jobs.begin(), from.jobs.end(), [](const auto& it) { return !it->sent_all; });
  return at == from.jobs.end() ? nullptr : *at;
}

bool sim_network::stalled(const endpoint& a, const endpoint& b) const {
  return a.wedged || b.wedged || cuts_.contains(ordered(a.node, b.node)) || frozen_.contains(a.node)
         || frozen_.contains(b.node);
}

void sim_network::advance_all() {
  for (auto& [number, end] : endpoints_)
    advance(*end);
}

/// Sends the next chunk of what was posted first, if anything stands in the way neither here nor there.
void sim_network::advance(endpoint& from) {
  if (from.sending || from.closed || from.broken)
    return;
  auto work = next_job(from);
  auto* to = find(from.remote);
  if (!work || to == nullptr || stalled(from, *to))
    return;
  if (to->closed) {
    notice(from);
    return;
  }
  start(*work);
  if ((work->breaks || work->wedges) && work->sent >= work->stop_at) {
    marker(work->breaks ? "fabric: connection broke" : "fabric: connection wedged");
    if (work->breaks)
      break_pair(from, {errc::io_error, "the connection broke"});
    else
      from.wedged = true;
    return;
  }
  send(from, *to, work);
}

void sim_network::start(job& work) {
  if (work.started)
    return;
  work.started = true;
  work.early = work.work.op == transport::direction::write && random_.chance(options_.early_ppm);
  work.breaks = random_.chance(options_.break_ppm);
  work.wedges = !work.breaks && random_.chance(options_.wedge_ppm);
  work.stop_at = random_.below(work.bytes + 1);
}

/// Takes the next bytes of a transfer from where they are. False if they are not there.
bool sim_network::load(endpoint& from, endpoint& to, job& work, chunk& what) {
  auto reading = work.work.op == transport::direction::read;
  auto source = reading ? to.owner->remote_memory(work.work.remote) : from.owner->local_memory(work.work.local);
  if (!source && work.bytes > 0)
    return false;
  auto room = random_.between(options_.chunk_bytes_max / 2 + 1, options_.chunk_bytes_max);
  while (room > 0 && !work.cursor.done()) {
    auto part = work.cursor.next(room);
    auto* first = source->data() + (reading ? part.remote_offset : part.local_offset);
    what.bytes.insert(what.bytes.end(), first, first + part.bytes);
    what.pieces.push_back(part);
    room -= part.bytes;
  }
  what.last = work.cursor.done();
  return true;
}

void sim_network::send(endpoint& from, endpoint& to, const job_ptr& work) {
  chunk what;
  if (!load(from, to, *work, what)) {
    break_pair(from, {errc::io_error, "the peer has no such region"});
    return;
  }
  ++totals_.chunks;
  auto reading = work->work.op == transport::direction::read;
  auto sender = reading ? to.node : from.node;
  auto receiver = reading ? from.node : to.node;
  auto sharing = std::max(++ports_[sender].sending, ++ports_[receiver].receiving);
  auto bytes = what.bytes.size();
  auto takes = bytes * sharing * second_ns / options_.bytes_per_second;
  // Nothing is reported before all its bytes are there, so the chunks of one transfer do not overtake each other.
  auto arrives = std::max(takes + latency(), work->lands_at - std::min(work->lands_at, home_.now()));
  work->lands_at = home_.now() + arrives;
  from.sending = true;
  home_.at(takes, [this, &from, work, sender, receiver, bytes, last = what.last] {
    --ports_[sender].sending;
    --ports_[receiver].receiving;
    sent(from, work, bytes, last);
  });
  home_.at(arrives, [this, &from, to = to.number, work, what = std::move(what)] { land(from, to, work, what); });
}

void sim_network::sent(endpoint& from, const job_ptr& work, uint64_t bytes, bool last) {
  from.sending = false;
  work->sent += bytes;
  work->sent_all = last;
  if (last && work->early)
    report(from, work, {});
  advance(from);
}

void sim_network::land(endpoint& from, uint64_t to, const job_ptr& work, const chunk& what) {
  auto* other = find(to);
  if (work->work.op == transport::direction::write) {
    if (other->closed) {
      totals_.undelivered += what.last && work->early;
      notice(from);
    } else {
      land_write(from, *other, work, what);
    }
    return;
  }
  if (work->reported || from.closed)
    return;
  if (auto here = from.owner->local_memory(work->work.local))
    place(from.node, *here, what, true);
  if (what.last)
    report(from, work, {});
}

void sim_network::place(uint32_t node, std::span<std::byte> memory, const chunk& what, bool reading) {
  const auto* next = what.bytes.data();
  for (const auto& part : what.pieces) {
    auto* to = memory.data() + (reading ? part.local_offset : part.remote_offset);
    if (landing_)
      landing_(node, to, part.bytes);
    std::memcpy(to, next, part.bytes);
    next += part.bytes;
  }
}

void sim_network::land_write(endpoint& from, endpoint& to, const job_ptr& work, const chunk& what) {
  if (!what.bytes.empty()) {
    auto there = to.owner->remote_memory(work->work.remote);
    if (!there) {
      break_pair(from, {errc::io_error, "the peer has no such region"});
      return;
    }
    place(to.node, *there, what, false);
  }
  if (work->reported && !work->early) {
    ++totals_.late_chunks;
    marker("fabric: late write");
  }
  if (!what.last || work->cancelled)
    return;
  if (work->work.immediate) {
    auto jitter = random_.below(options_.arrival_jitter_ns_max + 1);
    if (jitter == 0)
      arrived(to.number, *work->work.immediate);
    else
      home_.at(jitter, [this, at = to.number, number = *work->work.immediate] { arrived(at, number); });
  }
  if (!work->early)
    home_.at(latency(), [this, &from, work] { report(from, work, {}); });
}

void sim_network::arrived(uint64_t at, uint32_t immediate) {
  auto* end = find(at);
  if (!end->closed)
    end->owner->arrived(end->id, immediate);
}

/// What an ended transfer's provider had taken over already lands nevertheless.
void sim_network::linger(endpoint& from, const job_ptr& work) {
  auto* to = find(from.remote);
  if (work->work.op != transport::direction::write || !work->started || to == nullptr || to->closed || from.broken
      || stalled(from, *to) || !random_.chance(options_.linger_ppm))
    return;
  auto chunks = random_.between(1, options_.linger_chunks_max);
  auto arrives = latency() + work->lands_at - std::min(work->lands_at, home_.now());
  for (uint64_t n = 0; n < chunks && !work->cursor.done(); ++n) {
    chunk what;
    load(from, *to, *work, what);
    arrives += what.bytes.size() * second_ns / options_.bytes_per_second + latency();
    home_.at(arrives, [this, &from, to = to->number, work, what = std::move(what)] { land(from, to, work, what); });
  }
}

/// The other end is closed: this one hears of it some time later; of a dead one perhaps never.
void sim_network::notice(endpoint& which) {
  if (which.noticing || which.closed || which.broken)
    return;
  which.noticing = true;
  const auto* other = find(which.remote);
  if (other->owner == nullptr && random_.chance(options_.hang_ppm))
    return;
  home_.at(random_.between(options_.notice_ns_min, options_.notice_ns_max),
           [this, &which] { break_pair(which, {errc::peer_lost, "the peer closed the connection"}); });
}

void sim_network::break_pair(endpoint& one, const status& why) {
  for (auto* end : {&one, find(one.remote)}) {
    if (end == nullptr || end->closed || end->broken || (end != &one && end->remote != one.number))
      continue;
    ++totals_.breaks;
    end->broken = true;
    auto outstanding = end->jobs;
    for (const auto& work : outstanding)
      home_.at(latency(), [this, end, work, why] { report(*end, work, why); });
  }
}

void sim_network::report(endpoint& from, const job_ptr& work, status outcome) {
  if (work->reported || from.owner == nullptr)
    return;
  work->reported = true;
  std::erase(from.jobs, work);
  auto bytes = outcome.ok() ? work->bytes : 0;
  from.owner->completed(work->work, outcome, bytes);
}

uint64_t sim_network::latency() {
  return random_.between(options_.latency_ns_min, options_.latency_ns_max);
}

} // namespace perigee::sim
