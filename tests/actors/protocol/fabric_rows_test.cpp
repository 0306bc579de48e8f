// SPDX-License-Identifier: Apache-2.0
#include "actors/transfer/transport_core.hpp"
#include "tests/actors/protocol/protocol_row.hpp"

using namespace perigee;
using namespace perigee::testing;

namespace {

/// Endpoints that are only counted.
class counted_fabric final : public transport::fabric {
public:
  std::string describe() const override {
    return "counted";
  }
  transport::region_id register_memory(std::span<std::byte>) override {
    return 0;
  }
  void deregister(transport::region_id) override {}
  transport::remote_region remote(transport::region_id) const override {
    return {};
  }
  transport::peer_id open_peer(std::string_view) override {
    return ++opened;
  }
  std::string local_address(transport::peer_id peer) const override {
    return "endpoint " + std::to_string(peer);
  }
  void connect(transport::peer_id, std::string_view) override {
    ++connected;
  }
  void post(transport::transfer) override {
    ++posted;
  }
  void cancel(uint64_t) override {}
  void fence(transport::peer_id peer) override {
    fenced = peer;
  }
  counters totals() const override {
    return {};
  }

  transport::peer_id opened = 0;
  transport::peer_id fenced = 0;
  uint32_t connected = 0;
  uint32_t posted = 0;
};

constexpr auto leader = address{role::transport, 0, 0, 50};
constexpr auto follower = address{role::transport, 1, 1, 51};

/// The transport actor of one node.
struct side {
  explicit side(const address& self) : core(fabric, self, 10'000 * ms, retry) {}

  template <class Message>
  std::vector<Message> take() {
    auto found = std::vector<Message>{};
    for (auto& item : core.take_output())
      if (auto* out = std::get_if<transport_output::to_peer>(&item.what))
        if (auto* match = std::get_if<Message>(&out->message))
          found.push_back(*match);
    return found;
  }

  void tick() {
    now += retry;
    core.tick(now);
  }

  uint64_t now = 1000 * ms;
  counted_fabric fabric;
  transport_core core;
};

} // namespace

PROTOCOL_ROW("fabric_hello") {
  auto a = side{leader};
  a.core.peer_up(follower, a.now);
  auto first = a.take<fabric_hello>();
  REQUIRE_EQ(first.size(), 1);
  for (auto i = 0; i < 3; ++i) {
    a.tick();
    REQUIRE_EQ(a.take<fabric_hello>().size(), 1);
  }
  auto b = side{follower};
  b.core.peer_up(leader, b.now);
  for (auto i = 0; i < 2; ++i)
    b.core.hello(first[0], b.now);
  CHECK_EQ(b.fabric.opened, 1);
  CHECK_EQ(b.fabric.connected, 1);
  b.take<fabric_hello>();
  for (auto i = 0; i < 3; ++i) {
    b.tick();
    REQUIRE_EQ(b.take<fabric_hello>().size(), 1);
  }
  b.core.hello_ack({leader, 1});
  b.tick();
  CHECK(b.take<fabric_hello>().empty());
  // The leader dies: its endpoint is fenced, what was on its way ends.
  auto work = move_blocks{};
  work.id = 7;
  work.peer = leader;
  work.remote.bytes = 64;
  work.pieces = {{0, 0, 64}};
  work.deadline_ns = 10'000 * ms;
  b.core.move(1, work, b.now);
  CHECK_EQ(b.fabric.posted, 1);
  b.core.peer_down(leader, b.now);
  CHECK_EQ(b.fabric.fenced, b.fabric.opened);
  b.core.completed({1, {errc::peer_lost, ""}, 0}, b.now);
  b.core.fenced({b.fabric.opened}, b.now);
  auto ends = std::vector<moved>{};
  for (auto& item : b.core.take_output())
    if (auto* out = std::get_if<transport_output::to_client>(&item.what))
      if (auto* news = std::get_if<moved>(&out->message))
        ends.push_back(*news);
  REQUIRE_EQ(ends.size(), 1);
  CHECK_EQ(ends[0].id, 7);
  CHECK(ends[0].outcome.code == errc::peer_lost);
}

PROTOCOL_ROW("fabric_hello_ack") {
  auto a = side{leader};
  a.core.peer_up(follower, a.now);
  auto first = a.take<fabric_hello>().at(0);
  auto b = side{follower};
  b.core.peer_up(leader, b.now);
  b.core.hello(first, b.now);
  auto answer = b.take<fabric_hello>().at(0);
  for (auto i = 0; i < 2; ++i) {
    a.core.hello(answer, a.now);
    auto acks = a.take<fabric_hello_ack>();
    REQUIRE_EQ(acks.size(), 1);
    CHECK_EQ(acks[0].epoch, answer.epoch);
  }
  CHECK_EQ(a.fabric.connected, 1);
  a.tick();
  CHECK(a.take<fabric_hello_ack>().empty());
  b.core.hello_ack({leader, answer.epoch + 1}); // Of another endpoint.
  b.tick();
  CHECK_EQ(b.take<fabric_hello>().size(), 1);
}
