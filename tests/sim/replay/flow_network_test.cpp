// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/replay/flow_network.hpp"
#include "tests/support/testing.hpp"

#include <array>
#include <map>

using namespace perigee;
using namespace perigee::sim;
using namespace std::chrono_literals;

namespace {

/// Remembers when what was reported.
class recorder final : public transport::fabric_events {
public:
  explicit recorder(world& home) : home_(home) {}

  void completed(uint64_t id, status result, uint64_t) override {
    done[id] = {home_.now() - 1'000'000'000, result.code};
  }
  void arrived(transport::peer_id, uint32_t immediate) override {
    arrivals[immediate] = home_.now() - 1'000'000'000;
  }
  void fenced(transport::peer_id peer) override {
    fences.push_back(peer);
  }

  std::map<uint64_t, std::pair<uint64_t, errc>> done; ///< ns since the start, by transfer
  std::map<uint32_t, uint64_t> arrivals;
  std::vector<transport::peer_id> fences;

private:
  world& home_;
};

/// Nodes that all know each other; 1,000 bytes take a microsecond.
struct four_nodes {
  four_nodes() {
    for (uint32_t i = 0; i < 4; ++i) {
      ends.push_back(network->make_fabric(i, events[i]));
      regions.push_back(ends[i]->register_memory(memory[i]));
    }
    for (uint32_t a = 0; a < 4; ++a)
      for (uint32_t b = a + 1; b < 4; ++b) {
        peers[{a, b}] = ends[a]->open_peer("other");
        peers[{b, a}] = ends[b]->open_peer("other");
        ends[a]->connect(peers[{a, b}], ends[b]->local_address(peers[{b, a}]));
        ends[b]->connect(peers[{b, a}], ends[a]->local_address(peers[{a, b}]));
      }
  }

  void post(uint32_t from, uint32_t to, uint64_t id, uint64_t bytes,
            transport::direction op = transport::direction::write) {
    auto immediate = op == transport::direction::write ? std::optional{static_cast<uint32_t>(id)} : std::nullopt;
    ends[from]->post({id, op, from == to ? transport::self_peer : peers[{from, to}], regions[from],
                      ends[to]->remote(regions[to]), {{0, 0, bytes}}, immediate});
  }

  /// Within the nanosecond that rounding up may take.
  bool ended(uint32_t node, uint64_t id, uint64_t ns) {
    auto at = events[node].done.find(id);
    return at != events[node].done.end() && at->second.second == errc::none && at->second.first >= ns
           && at->second.first <= ns + 2;
  }

  world home{{}};
  std::shared_ptr<flow_network> network = flow_network::make(home, {.bytes_per_second = 1e9});
  std::array<recorder, 4> events{recorder{home}, recorder{home}, recorder{home}, recorder{home}};
  std::array<std::vector<std::byte>, 4> memory{std::vector<std::byte>(100'000), std::vector<std::byte>(100'000),
                                               std::vector<std::byte>(100'000), std::vector<std::byte>(100'000)};
  std::vector<std::unique_ptr<transport::fabric>> ends;
  std::vector<transport::region_id> regions;
  std::map<std::pair<uint32_t, uint32_t>, transport::peer_id> peers;
};

} // namespace

TEST_CASE("flow network: a flow alone has the whole port, and both ends hear of it") {
  four_nodes net;
  net.post(0, 1, 7, 50'000);
  net.home.run_for(1ms);
  CHECK(net.ended(0, 7, 50'000));
  CHECK(net.events[1].arrivals.at(7) == net.events[0].done.at(7).first);
  CHECK(net.network->totals().written_bytes == 50'000);
}

TEST_CASE("flow network: flows from one node share its port, and the rest speeds up when one ends") {
  four_nodes net;
  net.post(0, 1, 1, 10'000);
  net.post(0, 2, 2, 30'000);
  net.home.run_for(1ms);
  CHECK(net.ended(0, 1, 20'000)); // at half the rate
  CHECK(net.ended(0, 2, 40'000)); // the other 20,000 bytes alone
}

TEST_CASE("flow network: many senders to one node share the port there") {
  four_nodes net;
  net.post(0, 3, 1, 20'000);
  net.post(1, 3, 2, 20'000);
  net.home.at(10'000, [&] { net.post(2, 3, 3, 20'000); });
  net.home.run_for(1ms);
  // 10 µs at a half, then a third of the port each: 15,000 bytes take 45 µs; the last one has 5,000 of its own left.
  CHECK(net.ended(0, 1, 55'000));
  CHECK(net.ended(1, 2, 55'000));
  CHECK(net.ended(2, 3, 60'000));
}

TEST_CASE("flow network: the two directions of a port are apart, and reads use the sender's") {
  four_nodes net;
  net.post(0, 1, 1, 10'000);
  net.post(1, 0, 2, 10'000);
  net.post(2, 3, 3, 10'000, transport::direction::read); // 3 sends to 2
  net.post(2, 1, 4, 10'000);
  net.home.run_for(1ms);
  CHECK(net.ended(1, 2, 10'000));
  CHECK(net.ended(2, 3, 10'000));
  CHECK(net.ended(0, 1, 20'000));
  CHECK(net.ended(2, 4, 20'000));
  CHECK(net.network->totals().read_bytes == 10'000);
}

TEST_CASE("flow network: a hand-over ends one layer after its source is computed, or when its bytes are through") {
  four_nodes net;
  net.network->on_source(0, [](const std::byte*) { return 1'000'000'000 + 100'000; });
  net.post(0, 1, 1, 80'000); // through after 80 µs, ready at 100 µs; one of 80 layers takes 1 µs
  net.home.run_for(1ms);
  CHECK(net.ended(0, 1, 101'000));
  net.home.run_for(1ms);
  net.post(0, 1, 2, 10'000); // the source has been ready for long
  net.home.run_for(1ms);
  CHECK(net.ended(0, 2, 2'010'000));
}

TEST_CASE("flow network: memory of the same node costs no time") {
  four_nodes net;
  net.post(2, 2, 1, 10'000);
  CHECK(net.ended(2, 1, 0));
}

TEST_CASE("flow network: a fence ends what is under way, and tells so") {
  four_nodes net;
  net.post(0, 1, 1, 50'000);
  net.post(0, 2, 2, 50'000);
  net.home.run_for(10us);
  net.ends[0]->fence(net.peers[{0, 1}]);
  net.home.run_for(1ms);
  CHECK(net.events[0].done.at(1).second == errc::peer_lost);
  CHECK(net.events[0].fences == std::vector{net.peers[{0, 1}]});
  CHECK(net.events[1].arrivals.empty());
  CHECK(net.ended(0, 2, 55'000));
}

TEST_CASE("flow network: what was cancelled does not arrive, and frees its share") {
  four_nodes net;
  net.post(0, 1, 1, 50'000);
  net.post(0, 2, 2, 50'000);
  net.home.run_for(10us);
  net.ends[0]->cancel(1);
  net.home.run_for(1ms);
  CHECK(net.events[0].done.at(1).second == errc::cancelled);
  CHECK(net.events[1].arrivals.empty());
  CHECK(net.ended(0, 2, 55'000));
}

TEST_CASE("flow network: what it is asked wrongly it refuses by name") {
  four_nodes net;
  net.ends[0]->post({5, transport::direction::write, net.peers[{0, 1}], 99, net.ends[1]->remote(net.regions[1]),
                     {{0, 0, 10}}, {}});
  net.post(0, 1, 6, 200'000);
  net.home.run_for(1ms);
  CHECK(net.events[0].done.at(5).second == errc::invalid_argument);
  CHECK(net.events[0].done.at(6).second == errc::invalid_argument);
  CHECK_THROWS_AS(net.ends[0]->connect(net.peers[{0, 1}], "tcp:1"), failure);
}
