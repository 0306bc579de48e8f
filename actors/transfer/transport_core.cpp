// SPDX-License-Identifier: Apache-2.0
#include "actors/transfer/transport_core.hpp"

#include "transport/plan.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

namespace perigee {

namespace {

status make_status(errc code, std::string context) {
  return {code, std::move(context)};
}

std::string node_name(uint32_t node) {
  return "node " + std::to_string(node);
}

} // namespace

transport_core::transport_core(transport::fabric& fabric, address self, uint64_t transfer_ns, uint64_t retry_ns,
                               transport_limits limits)
  : fabric_(fabric), self_(self), transfer_ns_(transfer_ns), retry_ns_(retry_ns), limits_(limits) {}

// -- membership --

void transport_core::peer_up(const address& who, uint64_t now) {
  auto& seen = seen_[{who.kind, who.index}];
  seen = std::max(seen, who.incarnation);
  if (who.kind != role::transport || who.node == self_.node || gone(who))
    return;
  peer(who.node).link->up(who, now);
  settle(who.node, now);
}

void transport_core::peer_down(const address& who, uint64_t now) {
  auto& mark = gone_[{who.kind, who.index}];
  mark = std::max(mark, who.incarnation);
  if (who.kind == role::transport && who.node != self_.node) {
    peer(who.node).link->down(who, now);
    settle(who.node, now);
  }
  auto concerned = std::vector<uint64_t>{};
  for (const auto& [number, work] : jobs_)
    if (work.peer == who)
      concerned.push_back(number);
  for (auto number : concerned) {
    auto& work = jobs_.at(number);
    switch (work.at) {
    case phase::queued:
    case phase::proving: finish(number, make_status(errc::peer_lost, name_of(who) + " is gone")); break;
    case phase::posted: end_early(number, work, now); break;
    case phase::ending: break;
    }
  }
  answer_fences();
}

bool transport_core::gone(const address& who) const {
  auto place = std::pair{who.kind, who.index};
  if (auto at = gone_.find(place); at != gone_.end() && who.incarnation <= at->second)
    return true;
  auto at = seen_.find(place);
  return at != seen_.end() && who.incarnation < at->second;
}

transport_core::lane_of_peer& transport_core::peer(uint32_t node) {
  auto& it = peers_[node];
  if (!it.link && node != self_.node)
    it.link = std::make_unique<fabric_link>(fabric_, self_, node, retry_ns_);
  return it;
}

// -- clients --

std::optional<uint32_t> transport_core::attach(transport_client client) {
  assert(client != 0);
  auto at = std::find(lanes_.begin(), lanes_.end(), client);
  if (at == lanes_.end())
    at = std::find(lanes_.begin(), lanes_.end(), transport_client{0});
  if (at == lanes_.end())
    return std::nullopt;
  *at = client;
  return static_cast<uint32_t>(at - lanes_.begin());
}

void transport_core::client_gone(transport_client client, uint64_t now) {
  std::replace(lanes_.begin(), lanes_.end(), client, transport_client{0});
  auto first = by_client_.lower_bound({client, 0});
  auto numbers = std::vector<uint64_t>{};
  for (auto at = first; at != by_client_.end() && at->first.first == client; ++at)
    numbers.push_back(at->second);
  for (auto number : numbers) {
    auto& work = jobs_.at(number);
    work.orphaned = true;
    if (work.at == phase::queued || work.at == phase::proving)
      finish(number, {});
    else if (work.at == phase::posted)
      end_early(number, work, now);
  }
  std::erase_if(fence_waits_, [client](const fence_wait& it) { return it.client == client; });
  answer_fences();
}

void transport_core::move(transport_client client, const move_blocks& work, uint64_t now) {
  auto bytes = transport::total_bytes(work.pieces);
  auto refuse = [&](errc code, std::string why) { tell(client, moved{work.id, make_status(code, std::move(why)), 0}); };
  if (by_client_.contains({client, work.id}))
    return refuse(errc::invalid_argument, "transfer " + std::to_string(work.id) + " of this client is still open");
  if (gone(work.peer))
    return refuse(errc::peer_lost, name_of(work.peer) + " is gone");
  auto& to = peer(work.peer.node);
  if (to.queue.size() >= limits_.queued_max)
    return refuse(errc::exhausted, std::to_string(limits_.queued_max) + " transfers to " + node_name(work.peer.node)
                                     + " are waiting, the most allowed");
  auto number = ++numbers_;
  auto added = job{};
  added.client = client;
  added.client_id = work.id;
  added.peer = work.peer;
  added.bytes = bytes;
  added.deadline = now + (work.deadline_ns == 0 ? transfer_ns_ : work.deadline_ns);
  added.work = {number, work.op, transport::self_peer, work.local, work.remote, work.pieces, work.immediate};
  jobs_.emplace(number, std::move(added));
  by_client_.emplace(std::pair{client, work.id}, number);
  to.queue.push_back(number);
  post_ready(work.peer.node, now);
}

void transport_core::cancel(transport_client client, uint64_t id, uint64_t now) {
  auto at = by_client_.find({client, id});
  if (at == by_client_.end())
    return;
  auto number = at->second;
  auto& work = jobs_.at(number);
  if (work.at == phase::queued)
    finish(number, make_status(errc::cancelled, "cancelled before it started"));
  else if (work.at == phase::posted && work.work.op == transport::direction::read)
    end_early(number, work, now);
  answer_fences();
}

void transport_core::fence(transport_client client, const fence_node& what, uint64_t now) {
  auto node = what.peer.node;
  fence_waits_.push_back({client, what.id, node, numbers_ + 1});
  if (node != self_.node) {
    peer(node).link->renew(now);
    settle(node, now);
  }
  answer_fences();
}

// -- between the nodes --

void transport_core::hello(const fabric_hello& news, uint64_t now) {
  if (news.from.kind != role::transport || news.from.node == self_.node)
    return;
  auto at = peers_.find(news.from.node);
  if (at == peers_.end())
    return; // its node actor will tell us; the sender repeats
  auto acknowledge = at->second.link->hello(news, now);
  if (acknowledge)
    output_.push_back({transport_output::to_peer{news.from, fabric_hello_ack{self_, news.epoch}}});
  settle(news.from.node, now);
}

void transport_core::hello_ack(const fabric_hello_ack& news) {
  if (auto at = peers_.find(news.from.node); at != peers_.end() && at->second.link)
    at->second.link->hello_ack(news);
}

// -- from the fabric --

void transport_core::completed(const fabric_completed& news, uint64_t now) {
  auto at = jobs_.find(news.id);
  if (at == jobs_.end() || at->second.at == phase::queued || at->second.at == phase::proving)
    return;
  auto& work = at->second;
  auto node = work.peer.node;
  auto& to = peer(node);
  assert(to.bytes >= work.bytes);
  to.bytes -= work.bytes;
  auto refused = news.outcome.code == errc::invalid_argument || news.outcome.code == errc::exhausted;
  if (news.outcome.ok())
    finish(news.id, {}, news.bytes);
  else if (gone(work.peer))
    finish(news.id, make_status(errc::peer_lost, name_of(work.peer) + " is gone"));
  else if (work.late && news.outcome.code == errc::cancelled
           && (work.work.op == transport::direction::read || !to.link))
    finish(news.id, make_status(errc::timed_out, news.outcome.context));
  else if (work.work.op == transport::direction::write && to.link && !refused)
    settle_failed_write(news.id, news.outcome, now);
  else
    settle_failed(news.id, news.outcome, now);
  post_ready(node, now);
  answer_fences();
}

void transport_core::arrived_here(const fabric_arrived& news) {
  if (auto client = lanes_[lane_of(news.immediate)]; client != 0)
    tell(client, arrived{news.immediate});
}

void transport_core::fenced(const fabric_fenced& news, uint64_t now) {
  for (auto& [node, to] : peers_)
    if (to.link && to.link->fenced(news.peer, now)) {
      settle(node, now);
      break;
    }
  answer_fences();
}

void transport_core::tick(uint64_t now) {
  auto late = std::vector<uint64_t>{};
  for (const auto& [number, work] : jobs_)
    if (now >= work.deadline)
      late.push_back(number);
  for (auto number : late)
    if (auto at = jobs_.find(number); at != jobs_.end())
      overdue(number, at->second, now);
  for (auto& [node, to] : peers_)
    if (to.link && (to.link->tick(now) || !to.queue.empty()))
      settle(node, now);
  answer_fences();
}

// -- transfers --

void transport_core::post_ready(uint32_t node, uint64_t now) {
  auto& to = peer(node);
  while (!to.queue.empty() && (!to.link || to.link->ready())) {
    auto number = to.queue.front();
    auto& work = jobs_.at(number);
    if (to.bytes != 0 && to.bytes + work.bytes > limits_.bytes_in_flight_max)
      return;
    to.queue.pop_front();
    post(number, work, to, now);
  }
}

void transport_core::post(uint64_t number, job& work, lane_of_peer& to, uint64_t now) {
  work.at = phase::posted;
  work.epoch = to.link ? to.link->epoch() : 0;
  // Time spent waiting counts, but what starts gets a moment to end before it is stopped.
  work.deadline = std::max(work.deadline, now + retry_ns_);
  work.work.peer = to.link ? to.link->peer() : transport::self_peer;
  to.bytes += work.bytes;
  assert(work.work.id == number);
  fabric_.post(work.work);
}

/// After anything that may have changed the link of `node`.
void transport_core::settle(uint32_t node, uint64_t now) {
  auto& to = peer(node);
  for (auto& it : to.link->take_output())
    output_.push_back({transport_output::to_peer{it.to, std::move(it.hello)}});
  auto alive = to.link->alive();
  if (to.renewals_seen != to.link->renewals()) {
    to.renewals_seen = to.link->renewals();
    drop_queue(node, alive ? make_status(errc::cancelled, "the link to " + node_name(node) + " was renewed")
                           : make_status(errc::peer_lost, node_name(node) + " is gone"));
  }
  auto proven = std::vector<uint64_t>{};
  for (const auto& [number, work] : jobs_)
    if (work.at == phase::proving && work.peer.node == node && (!alive || work.epoch < to.link->proven_below()))
      proven.push_back(number);
  for (auto number : proven)
    finish(number, alive ? make_status(errc::cancelled, "failed, and the link to " + node_name(node) + " was renewed")
                         : make_status(errc::peer_lost, node_name(node) + " is gone"));
  post_ready(node, now);
}

void transport_core::settle_failed_write(uint64_t number, const status& why, uint64_t now) {
  auto& work = jobs_.at(number);
  auto node = work.peer.node;
  auto& link = *peer(node).link;
  if (work.orphaned || !link.alive())
    return finish(number, make_status(errc::peer_lost, node_name(node) + " is gone"));
  if (work.epoch < link.proven_below())
    return finish(number, make_status(errc::cancelled, why.context));
  work.at = phase::proving;
  work.deadline = now + transfer_ns_;
  if (work.epoch == link.epoch() && link.ready()) {
    link.renew(now);
    settle(node, now);
  }
}

/// Of a transfer that proves nothing by its failure, except perhaps that the connection is broken: then no other would
/// fare better, and the link is renewed.
void transport_core::settle_failed(uint64_t number, const status& why, uint64_t now) {
  const auto& work = jobs_.at(number);
  auto node = work.peer.node;
  auto& link = peer(node).link;
  auto broken =
    link && link->ready() && work.epoch == link->epoch() && (why.code == errc::io_error || why.code == errc::peer_lost);
  finish(number, why);
  if (broken) {
    link->renew(now);
    settle(node, now);
  }
}

/// The fabric has it, and nobody wants it any more.
void transport_core::end_early(uint64_t number, job& work, uint64_t now) {
  work.at = phase::ending;
  work.deadline = now + transfer_ns_;
  fabric_.cancel(number);
}

void transport_core::overdue(uint64_t number, job& work, uint64_t now) {
  auto node = work.peer.node;
  switch (work.at) {
  case phase::queued:
    return finish(number,
                  make_status(errc::exhausted, "did not start within its deadline: the link to " + node_name(node)
                                                 + " is not up, or other transfers took its time"));
  case phase::posted: work.late = true; return end_early(number, work, now);
  case phase::ending:
    // A copy within the process ends by itself.
    if (auto& to = peer(node); to.link && !work.fence_used) {
      work.fence_used = true;
      to.link->renew(now);
      settle(node, now);
    }
    return;
  case phase::proving:
    return finish(number,
                  make_status(errc::timed_out, node_name(node) + " did not confirm that a failed write is over"));
  }
}

void transport_core::drop_queue(uint32_t node, const status& why) {
  auto numbers = std::exchange(peer(node).queue, {});
  for (auto number : numbers)
    finish(number, why);
}

void transport_core::finish(uint64_t number, status outcome, uint64_t bytes) {
  auto at = jobs_.find(number);
  assert(at != jobs_.end());
  auto& work = at->second;
  if (work.at == phase::queued)
    std::erase(peer(work.peer.node).queue, number);
  if (!work.orphaned)
    tell(work.client, moved{work.client_id, std::move(outcome), bytes});
  by_client_.erase({work.client, work.client_id});
  jobs_.erase(at);
}

void transport_core::answer_fences() {
  if (fence_waits_.empty())
    return;
  auto done = [this](const fence_wait& it) {
    if (it.node != self_.node)
      return peer(it.node).link->quiet();
    return std::none_of(jobs_.begin(), jobs_.lower_bound(it.below),
                        [this](const auto& entry) { return entry.second.peer.node == self_.node; });
  };
  auto open = std::vector<fence_wait>{};
  for (const auto& it : fence_waits_)
    if (done(it))
      tell(it.client, node_fenced{it.id});
    else
      open.push_back(it);
  fence_waits_ = std::move(open);
}

void transport_core::tell(transport_client client, std::variant<moved, node_fenced, arrived> message) {
  output_.push_back({transport_output::to_client{client, std::move(message)}});
}

transport_status transport_core::counters() const {
  auto totals = fabric_.totals();
  auto out = transport_status{totals.provider_bytes, totals.copied_bytes, totals.failed_transfers, 0, 0};
  for (const auto& [node, to] : peers_)
    out.fences += to.link ? to.link->fences() : 0;
  for (const auto& [number, work] : jobs_)
    out.in_flight += work.at == phase::posted || work.at == phase::ending;
  return out;
}

std::vector<transport_output> transport_core::take_output() {
  return std::exchange(output_, {});
}

bool transport_core::check() const {
  if (jobs_.size() < by_client_.size())
    return false;
  for (const auto& [node, to] : peers_) {
    auto bytes = uint64_t{0};
    auto queued = size_t{0};
    auto posted = size_t{0};
    for (const auto& [number, work] : jobs_)
      if (work.peer.node == node) {
        auto is_posted = work.at == phase::posted || work.at == phase::ending;
        bytes += is_posted ? work.bytes : 0;
        posted += is_posted;
        queued += work.at == phase::queued;
      }
    if (bytes != to.bytes || queued != to.queue.size() || queued > limits_.queued_max)
      return false;
    if (posted > 1 && bytes > limits_.bytes_in_flight_max)
      return false;
  }
  return true;
}

} // namespace perigee
