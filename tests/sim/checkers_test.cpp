// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/checkers.hpp"
#include "tests/support/testing.hpp"

#include <algorithm>

using namespace perigee;
using namespace perigee::sim;
using namespace std::chrono_literals;

namespace {

/// A cluster in the middle of its work.
struct scene {
  scene() : target(home, nodes()), clients(target, some(), known), watch(target, clients) {
    clients.start();
  }

  cluster_options nodes() {
    cluster_options result;
    result.known = &known;
    result.costs.decode_base_ns = 2'000'000;
    return result;
  }
  static traffic_options some() {
    traffic_options result;
    result.requests = 60;
    return result;
  }
  void finish() {
    home.run_until([this] { return clients.done(); }, 5min);
    home.run_for(10s);
    watch.quiet();
  }
  bool complains(const char* word) const {
    auto with = [word](const std::string& what) { return what.find(word) != std::string::npos; };
    const auto& one = watch.problems();
    const auto& two = clients.problems();
    return std::any_of(one.begin(), one.end(), with) || std::any_of(two.begin(), two.end(), with);
  }

  world home{{}};
  known_content known;
  cluster target;
  traffic clients;
  checkers watch;
};

} // namespace

TEST_CASE("checkers: have nothing to say about a good run") {
  scene it;
  it.finish();
  CHECK(it.watch.problems() == std::vector<std::string>{});
  CHECK(it.clients.problems() == std::vector<std::string>{});
}

TEST_CASE("checkers: a flipped bit in a decode pool changes tokens, and is found") {
  scene it;
  it.home.run_for(100ms);
  const auto& accounts = it.target.decode_state_of(0)->pool();
  REQUIRE(it.home.run_until([&] { return accounts.count(slot_state::live) > 10; }, 1s));
  auto pool = it.target.decode_stream(0)->pool();
  for (size_t i = 0; i < pool.size(); i += 8)
    pool[i] ^= std::byte{1};
  it.finish();
  CHECK(it.complains("I4"));
  CHECK(it.complains("expected"));
}

TEST_CASE("checkers: a flipped bit in a shard's block is found") {
  scene it;
  it.finish();
  REQUIRE(it.watch.problems().empty());
  auto memory = it.target.shard_memory(1);
  const_cast<std::byte&>(memory[0]) ^= std::byte{1};
  it.watch.quiet();
  CHECK(it.complains("I4: slot 0 of shard-1"));
}

TEST_CASE("checkers: what is under way is not quiet") {
  scene it;
  it.home.run_for(150ms);
  it.watch.quiet();
  CHECK(it.complains("I5: the Conductor"));
  CHECK(it.complains("I5: session-0"));
}

TEST_CASE("checkers: an index that misses a shard's events is found") {
  scene it;
  it.home.run_for(100ms);
  // The Conductor hears nothing of this shard any more, and nobody tells it that the shard is gone.
  it.target.cut(it.target.node_of(role::shard, 0), it.target.node_of(role::conductor, 0));
  it.finish();
  CHECK(it.complains("I7"));
}

TEST_CASE("checkers: a request that nobody answers is not done") {
  scene it;
  it.home.run_for(20ms);
  it.target.cut(it.target.node_of(role::session, 0), it.target.node_of(role::conductor, 0));
  CHECK_FALSE(it.home.run_until([&] { return it.clients.done(); }, 30s));
  // Their deadlines end them, with an error.
  CHECK(it.home.run_until([&] { return it.clients.done(); }, 60s));
  CHECK(it.clients.totals().errors.at(ec::deadline) > 0);
}
