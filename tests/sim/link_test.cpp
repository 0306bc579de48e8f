// SPDX-License-Identifier: Apache-2.0
#include "actors/core/interfaces.hpp"
#include "actors/sim/link.hpp"
#include "tests/support/testing.hpp"

#include <caf/event_based_actor.hpp>
#include <caf/send.hpp>

#include <algorithm>
#include <numeric>

using namespace perigee;
using namespace perigee::sim;
using namespace std::chrono_literals;

namespace {

struct letter_box {
  std::vector<std::pair<uint64_t, uint64_t>> got; ///< virtual ns, op
};

caf::actor listener(world& home, const std::string& name, letter_box& box) {
  return home.spawn(name, [&home, &box](caf::event_based_actor*) -> caf::behavior {
    return {[&home, &box](const lease& what) { box.got.emplace_back(home.now(), what.op); }};
  });
}

void tell(const caf::actor& to, uint64_t op) {
  caf::anon_send(to, lease{address{role::store_client, 1, 0, 7}, op, 1, {{1, 2}, {3, 4}}});
}

} // namespace

TEST_CASE("link: a message arrives as it was sent, within the latency") {
  world home{{}};
  links net{home, {.latency_ns_min = 1'000, .latency_ns_max = 2'000}};
  std::vector<lease> got;
  auto target = home.spawn("target", [&](caf::event_based_actor*) -> caf::behavior {
    return {[&](const lease& what) {
      got.push_back(what);
      CHECK(home.now() >= 1'000'001'000);
      CHECK(home.now() <= 1'000'002'000);
    }};
  });
  tell(net.make(0, 1, target, "0>target"), 9);
  home.run_for(1ms);
  REQUIRE(got.size() == 1);
  CHECK(got[0].from == address{role::store_client, 1, 0, 7});
  CHECK(got[0].op == 9);
  CHECK(got[0].keys == std::vector<block_key>{{1, 2}, {3, 4}});
}

TEST_CASE("link: loses, doubles, delays and reorders as often as it was told") {
  world home{{.seed = 4}};
  links net{home, {.slow_ppm = 50'000, .slow_ns_max = 5'000'000, .loss_ppm = 100'000, .duplicate_ppm = 100'000}};
  letter_box box;
  auto way = net.make(0, 1, listener(home, "target", box), "0>target");
  for (uint64_t op = 0; op < 10'000; ++op)
    home.at(op * 10'000, [&, op] { tell(way, op); });
  home.run_for(1s);
  CHECK(net.totals().sent == 10'000);
  CHECK(net.totals().lost > 900);
  CHECK(net.totals().lost < 1'100);
  CHECK(net.totals().duplicated > 800);
  CHECK(net.totals().duplicated < 1'000);
  CHECK(box.got.size() == 10'000 - net.totals().lost + net.totals().duplicated);
  CHECK(net.totals().overtaken > 1'000);
  std::vector<uint64_t> ops;
  for (const auto& [at, op] : box.got)
    ops.push_back(op);
  CHECK_FALSE(std::is_sorted(ops.begin(), ops.end()));
}

TEST_CASE("link: a cut loses one direction until it heals") {
  world home{{}};
  links net{home, {}};
  letter_box there;
  letter_box back;
  auto to = net.make(0, 1, listener(home, "there", there), "0>there");
  auto from = net.make(1, 0, listener(home, "back", back), "1>back");
  net.cut(0, 1);
  tell(to, 1);
  tell(from, 1);
  home.run_for(10ms);
  CHECK(there.got.empty());
  CHECK(back.got.size() == 1);
  net.heal(0, 1);
  tell(to, 2);
  home.run_for(10ms);
  REQUIRE(there.got.size() == 1);
  CHECK(there.got[0].second == 2);
}

TEST_CASE("link: what a killed node had sent may still arrive, what was sent to it may not") {
  uint64_t ghosts = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    world home{{.seed = seed}};
    links net{home, {}};
    letter_box alive;
    letter_box dead;
    auto from_dead = net.make(1, 0, listener(home, "alive", alive), "1>alive");
    auto to_dead = net.make(0, 1, listener(home, "dead", dead), "0>dead");
    tell(from_dead, 1);
    tell(to_dead, 1);
    home.run_ready();
    net.kill(1);
    tell(from_dead, 2);
    tell(to_dead, 2);
    home.run_for(10ms);
    CHECK(dead.got.empty());
    ghosts += alive.got.size();
    CHECK(std::all_of(alive.got.begin(), alive.got.end(), [](const auto& entry) { return entry.second == 1; }));
  }
  CHECK(ghosts > 3);
  CHECK(ghosts < 17);
}
