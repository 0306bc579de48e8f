// SPDX-License-Identifier: Apache-2.0
#include "actors/transfer/fabric_link.hpp"

#include <algorithm>
#include <utility>

namespace perigee {

fabric_link::fabric_link(transport::fabric& fabric, address self, uint32_t node, uint64_t retry_ns)
  : fabric_(fabric), self_(self), node_(node), retry_ns_(retry_ns) {}

void fabric_link::up(const address& who, uint64_t now) {
  if (who_ == who)
    return;
  if (who_)
    down(*who_, now);
  who_ = who;
  advance(now);
}

void fabric_link::down(const address& who, uint64_t now) {
  if (who_ != who)
    return;
  who_.reset();
  close();
  led_ = 0; // a successor counts from the start, and has nothing queued that its predecessor was given
  asked_ = 0;
  led_endpoint_.clear();
  asking_ = false;
  ++renewals_;
  advance(now);
}

void fabric_link::renew(uint64_t now) {
  ++renewals_;
  if (!leads()) {
    asking_ = true;
    asked_ = ++epoch_;
    led_endpoint_.clear();
  }
  close();
  advance(now);
}

bool fabric_link::hello(const fabric_hello& news, uint64_t now) {
  if (who_ != news.from)
    return false;
  if (leads())
    return hello_to_leader(news, now);
  hello_to_follower(news, now);
  return false;
}

bool fabric_link::hello_to_leader(const fabric_hello& news, uint64_t now) {
  if (news.endpoint.empty()) {
    asked_by_follower(news, now);
    return false;
  }
  if (!open_ || news.peer_epoch != epoch_)
    return false; // about an earlier endpoint; our own hello is being repeated, or is not due yet
  if (bound_ == 0) {
    if (!connect(news.endpoint))
      return false;
    bound_ = news.epoch;
    proven_below_ = std::max(proven_below_, epoch_);
  }
  return bound_ == news.epoch;
}

void fabric_link::asked_by_follower(const fabric_hello& news, uint64_t now) {
  if (news.epoch <= asked_ || news.epoch <= bound_) {
    if (quiet() && open_ && bound_ == 0)
      say(now);
    return;
  }
  asked_ = news.epoch;
  if (open_ && news.peer_epoch == epoch_) {
    proven_below_ = epoch_ + 1;
    renew(now);
    return;
  }
  // The follower has not used our present endpoint, and neither have we.
  ++renewals_;
  if (quiet() && open_)
    say(now);
}

void fabric_link::hello_to_follower(const fabric_hello& news, uint64_t now) {
  if (news.endpoint.empty() || news.epoch < led_)
    return;
  if (news.epoch > led_) {
    led_ = news.epoch;
    proven_below_ = epoch_ + 1;
    ++renewals_;
    close();
  } else if (!asking_ || news.peer_epoch < asked_) {
    if (quiet() && (open_ || asking_))
      say(now);
    return;
  }
  // Here we have not used this endpoint of the leader's.
  asking_ = news.peer_epoch < asked_;
  led_endpoint_ = asking_ ? std::string{} : news.endpoint;
  advance(now);
}

void fabric_link::hello_ack(const fabric_hello_ack& news) {
  if (who_ == news.from && open_ && news.epoch == epoch_)
    acked_ = true;
}

bool fabric_link::fenced(transport::peer_id peer, uint64_t now) {
  if (fencing_.erase(peer) == 0)
    return false;
  advance(now);
  return true;
}

bool fabric_link::tick(uint64_t now) {
  auto heard = leads() ? !open_ || bound_ != 0 : !asking_ && (!open_ || acked_);
  if (heard || now < next_say_ || !who_ || !quiet())
    return false;
  say(now);
  return true;
}

std::vector<link_output> fabric_link::take_output() {
  return std::exchange(output_, {});
}

void fabric_link::close() {
  if (!open_)
    return;
  open_ = false;
  bound_ = 0;
  ++fences_;
  fencing_.insert(peer_);
  fabric_.fence(peer_);
}

void fabric_link::advance(uint64_t now) {
  if (!who_ || !quiet() || open_)
    return;
  if (leads()) {
    open();
    say(now);
  } else if (!led_endpoint_.empty()) {
    open();
    if (connect(std::exchange(led_endpoint_, {})))
      bound_ = led_;
    say(now);
  } else if (asking_) {
    say(now);
  }
}

void fabric_link::open() {
  peer_ = fabric_.open_peer("node-" + std::to_string(node_));
  endpoint_ = fabric_.local_address(peer_);
  ++epoch_;
  open_ = true;
  bound_ = 0;
  acked_ = false;
}

bool fabric_link::connect(const std::string& endpoint) {
  try {
    fabric_.connect(peer_, endpoint);
    return true;
  } catch (const failure&) {
    return false; // an address this fabric cannot reach: transfers wait until their deadlines
  }
}

void fabric_link::say(uint64_t now) {
  next_say_ = now + retry_ns_;
  auto endpoint = open_ ? endpoint_ : std::string{};
  auto epoch = asking_ ? asked_ : epoch_;
  output_.push_back({*who_, {self_, epoch, std::move(endpoint), leads() ? asked_ : led_}});
}

} // namespace perigee
