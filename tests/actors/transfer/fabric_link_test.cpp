// SPDX-License-Identifier: Apache-2.0
#include "actors/transfer/fabric_link.hpp"
#include "tests/actors/transfer/fake_network.hpp"
#include "tests/actors/transfer/virtual_time.hpp"
#include "tests/support/testing.hpp"

using namespace perigee;
using namespace perigee::testing;

namespace {

constexpr uint64_t ms = 1'000'000;
constexpr uint64_t retry_ns = 20 * ms;

address transport_of(uint32_t node, uint64_t incarnation) {
  return {role::transport, node, node, incarnation};
}

/// Two nodes with one link each, and messages between them that may be lost, doubled and late.
struct pair_of_nodes {
  struct side final : transport::fabric_events {
    pair_of_nodes* all = nullptr;
    uint32_t node = 0;
    uint64_t incarnation = 1;
    std::unique_ptr<transport::fabric> fabric;
    std::unique_ptr<fabric_link> link;

    void completed(uint64_t, status, uint64_t) override {}
    void arrived(transport::peer_id, uint32_t) override {}
    void fenced(transport::peer_id peer) override {
      CHECK(link->fenced(peer, all->time.now()));
      all->flush();
    }
  };

  explicit pair_of_nodes(uint64_t seed)
    : random(seed),
      net(seed, [this](uint64_t delay, std::function<void()> action) { time.after(delay, std::move(action)); }) {
    start(0);
    start(1);
  }

  ~pair_of_nodes() {
    for (auto& it : sides)
      it.fabric.reset();
  }

  side& other(uint32_t node) {
    return sides[1 - node];
  }

  void start(uint32_t node) {
    auto& it = sides[node];
    it.all = this;
    it.node = node;
    it.fabric = net.make(node, it);
    it.link = std::make_unique<fabric_link>(*it.fabric, transport_of(node, it.incarnation), 1 - node, retry_ns);
  }

  void introduce(uint32_t node) {
    sides[node].link->up(transport_of(1 - node, other(node).incarnation), time.now());
    flush();
  }

  void restart(uint32_t node) {
    auto old = transport_of(node, sides[node].incarnation);
    ++sides[node].incarnation;
    sides[node].link.reset();
    sides[node].fabric.reset();
    start(node);
    other(node).link->down(old, time.now());
    flush();
  }

  void flush() {
    for (auto& from : sides)
      if (from.link)
        for (auto& it : from.link->take_output())
          for (uint64_t copies = random.chance(loss_ppm) ? 0 : 1 + random.chance(loss_ppm); copies > 0; --copies)
            time.after(1 + random.below(delay_ns_max), [this, it, node = from.node] { arrive(other(node), it); });
  }

  void arrive(side& to, const link_output& it) {
    if (it.to.incarnation != to.incarnation)
      return;
    if (to.link->hello(it.hello, time.now()) && !random.chance(loss_ppm))
      time.after(1 + random.below(delay_ns_max),
                 [this, node = to.node, from = transport_of(to.node, to.incarnation), epoch = it.hello.epoch] {
                   other(node).link->hello_ack({from, epoch});
                 });
    flush();
  }

  void run_for(uint64_t span_ns) {
    for (auto end = time.now() + span_ns; time.now() < end; time.run_for(5 * ms)) {
      for (auto& it : sides)
        it.link->tick(time.now());
      flush();
    }
  }

  bool both_ready() const {
    return sides[0].link->ready() && sides[1].link->ready();
  }

  sim::random_stream random;
  virtual_time time;
  fake_network net;
  uint32_t loss_ppm = 0;
  uint64_t delay_ns_max = 1 * ms;
  side sides[2];
};

} // namespace

TEST_CASE("fabric_link: two nodes that know each other get a pairing") {
  auto it = pair_of_nodes{1};
  it.introduce(0);
  it.run_for(10 * ms);
  CHECK_FALSE(it.both_ready());
  it.introduce(1);
  it.run_for(100 * ms);
  CHECK(it.both_ready());
  CHECK_EQ(it.sides[0].link->epoch(), 1);
  CHECK_EQ(it.sides[1].link->epoch(), 1);
}

TEST_CASE("fabric_link: whoever renews, the other side proves that the old pairing is over") {
  for (uint32_t node : {0u, 1u}) {
    CAPTURE(node);
    auto it = pair_of_nodes{1};
    it.introduce(0);
    it.introduce(1);
    it.run_for(100 * ms);
    auto& link = *it.sides[node].link;
    auto epoch = link.epoch();
    CHECK_LE(link.proven_below(), epoch);
    link.renew(it.time.now());
    CHECK_FALSE(link.ready());
    CHECK_FALSE(link.quiet());
    it.flush();
    it.run_for(100 * ms);
    CHECK(link.quiet());
    CHECK(it.both_ready());
    CHECK_GT(link.epoch(), epoch);
    CHECK_GT(link.proven_below(), epoch);
    CHECK_GT(it.other(node).link->proven_below(), 1);
  }
}

TEST_CASE("fabric_link: a restarted peer gets a fresh pairing, the old endpoint is fenced") {
  for (uint32_t node : {0u, 1u}) {
    CAPTURE(node);
    auto it = pair_of_nodes{2};
    it.introduce(0);
    it.introduce(1);
    it.run_for(100 * ms);
    it.restart(node);
    it.run_for(100 * ms);
    CHECK_FALSE(it.other(node).link->alive());
    CHECK(it.other(node).link->quiet());
    it.introduce(0);
    it.introduce(1);
    it.run_for(100 * ms);
    CHECK(it.both_ready());
    CHECK_EQ(it.other(node).link->fences(), 1);
  }
}

TEST_CASE("fabric_link: a follower that is to fence before it was paired takes no pairing that the leader offered "
          "before it knew") {
  auto it = pair_of_nodes{3};
  it.sides[1].link->renew(it.time.now());
  it.introduce(0);
  it.introduce(1);
  it.run_for(200 * ms);
  CHECK(it.both_ready());
  // The leader dropped what it had queued.
  CHECK_GE(it.sides[0].link->renewals(), 1);
}

TEST_CASE("fabric_link: what the leader announced before it was asked is not taken for the answer") {
  auto it = pair_of_nodes{4};
  auto leader = transport_of(0, 1);
  auto& follower = *it.sides[1].link;
  follower.up(leader, it.time.now());
  follower.renew(it.time.now());
  follower.take_output();
  CHECK_FALSE(follower.hello({leader, 1, "announced before", 0}, it.time.now()));
  CHECK_FALSE(follower.ready());
  auto ask = follower.take_output();
  REQUIRE_EQ(ask.size(), 1);
  CHECK(ask[0].hello.endpoint.empty());
  CHECK_EQ(ask[0].hello.peer_epoch, 1);
  // The leader had not used it, so it may be the answer all the same; it says so.
  follower.hello({leader, 1, "announced before", ask[0].hello.epoch}, it.time.now());
  CHECK(follower.ready());
  CHECK_EQ(follower.take_output().at(0).hello.peer_epoch, 1);
}

TEST_CASE("fabric_link: on a bad network, with fences and restarts, both sides end up paired and proofs are true") {
  for (uint64_t seed = 1; seed <= seeds(100); ++seed) {
    CAPTURE(seed);
    auto it = pair_of_nodes{seed};
    it.loss_ppm = 200'000;
    it.delay_ns_max = 50 * ms;
    it.introduce(0);
    it.introduce(1);
    for (int step = 0; step < 60; ++step) {
      auto node = static_cast<uint32_t>(it.random.below(2));
      auto& link = *it.sides[node].link;
      switch (it.random.below(4)) {
      case 0:
        link.renew(it.time.now());
        it.flush();
        break;
      case 1:
        if (it.random.below(5) == 0) {
          it.restart(node);
          it.introduce(node);
          it.introduce(1 - node);
        }
        break;
      default: break;
      }
      it.run_for(it.random.below(80) * ms);
      for (auto& side : it.sides)
        REQUIRE_LE(side.link->proven_below(), side.link->epoch() + 1);
    }
    it.loss_ppm = 0;
    it.run_for(500 * ms);
    CHECK(it.both_ready());
    CHECK(it.sides[0].link->quiet());
    CHECK(it.sides[1].link->quiet());
    for (auto& side : it.sides)
      REQUIRE_LE(side.link->proven_below(), side.link->epoch());
    // Paired with each other, not with somebody older: what one side fences, the other loses.
    auto before = it.sides[1].link->epoch();
    it.sides[0].link->renew(it.time.now());
    it.flush();
    it.run_for(500 * ms);
    CHECK(it.both_ready());
    CHECK_GT(it.sides[1].link->epoch(), before);
  }
}
