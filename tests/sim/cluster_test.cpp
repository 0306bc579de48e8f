// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/scenario.hpp"
#include "tests/support/testing.hpp"

#include <algorithm>

using namespace perigee;
using namespace perigee::sim;

namespace {

/// Runs a scenario for several seeds; wants no problem and, unless the tests were told to try fewer seeds, each of
/// those markers at least once.
template <class Scenario>
summary run_seeds(uint64_t full, Scenario make, const std::vector<const char*>& wanted) {
  summary sum;
  auto seeds = testing::seeds(full);
  for (uint64_t seed = 1; seed <= seeds; ++seed)
    sum.add(seed, run(make(seed)));
  CHECK(sum.problems == "");
  if (seeds < full)
    return sum;
  INFO(sum.text());
  for (const std::string name : wanted) {
    INFO("marker: " << name);
    CHECK(sum.markers[name] > 0);
  }
  return sum;
}

summary run_deaths(const std::vector<std::pair<role, uint32_t>>& victims, const std::vector<const char*>& wanted) {
  return run_seeds(
    12, [&](uint64_t seed) { return with_deaths(seed, victims); }, wanted);
}

/// Crowded, with still less room at decode instances: prefixes that are lent take none of it.
scenario short_of_slots(uint64_t seed) {
  auto what = crowded(seed);
  what.nodes.decode_slots = 15;
  return what;
}

} // namespace

TEST_CASE("cluster: without faults every request finishes, with the tokens it must have") {
  scenario what;
  what.clients.requests = 60;
  auto result = run(what);
  CHECK(result.problems == std::vector<std::string>{});
  CHECK(result.clients.finished == 60);
  CHECK(result.clients.errors.empty());
  CHECK(result.clients.cached_tokens > 0);
  CHECK(result.writes_seen > 0);
  CHECK(result.blocks_compared > 0);
}

TEST_CASE("cluster: 200 requests on 11 nodes, rough networks, small caches, clients that leave") {
  auto seeds = testing::seeds(100);
  auto sum = run_seeds(100, rough,
                       {"decode: announced before arrived", "decode: cancel running", "decode: cancel transfer",
                        "decode: first token waits for the step", "decode: forked", "decode: late write",
                        "decode: stale reserve", "fabric: connection broke", "prefill: cancel computed",
                        "prefill: cancel computing", "prefill: cancel fetching", "prefill: cancel queued",
                        "prefill: ended with the first token", "prefill: whole prompt cached", "session: client left",
                        "session: stale placement", "session: stale tokens", "stream: cancelled while it ran"});
  INFO(sum.text());
  CHECK(sum.clients.opened == seeds * 200);
  CHECK(sum.clients.finished + sum.clients.left == seeds * 200);
  CHECK(sum.clients.left > seeds * 3);
  CHECK(sum.clients.cached_tokens * 20 > sum.clients.prompt_tokens);
  CHECK(sum.evicted > seeds * 10);
}

TEST_CASE("cluster: more than decode has room for") {
  auto sum = run_seeds(20, crowded, {"decode: preempted", "decode: refused", "prefill: decode refused"});
  INFO(sum.text());
  CHECK(sum.clients.errors.empty());
}

TEST_CASE("cluster: prefill nodes die and come back") {
  run_deaths({{role::prefill, 0}, {role::prefill, 1}}, {"decode: writer died", "session: prefill lost"});
}

TEST_CASE("cluster: decode nodes die and come back") {
  run_deaths({{role::decode, 0}, {role::decode, 1}}, {"session: branch split", "session: decode lost"});
}

TEST_CASE("cluster: shards die and come back") {
  run_deaths({{role::shard, 0}, {role::shard, 1}}, {});
}

TEST_CASE("cluster: the Conductor dies and comes back") {
  run_deaths({{role::conductor, 0}}, {});
}

TEST_CASE("cluster: the gateway dies and comes back") {
  auto sum = run_deaths({{role::session, 0}}, {});
  CHECK(sum.clients.lost > 0);
}

TEST_CASE("cluster: nodes of every role die and come back") {
  run_deaths({{role::prefill, 0}, {role::decode, 1}, {role::conductor, 0}, {role::shard, 2}, {role::session, 0}},
             {"session: prefill lost", "session: decode lost"});
}

TEST_CASE("cluster: decode instances compute what is mostly cached, on rough networks and short of room") {
  auto rough_one = run_seeds(15, [](uint64_t seed) { return conditionally(rough(seed)); },
                             {"decode: prompt computed here", "decode: cancel prompt", "decode: cancel running"});
  CHECK(rough_one.clients.errors.empty());
  auto sum = run_seeds(15, [](uint64_t seed) { return conditionally(short_of_slots(seed)); },
                       {"decode: preempted", "decode: prompt computed here"});
  INFO(sum.text());
  CHECK(sum.clients.errors.empty());
}

TEST_CASE("cluster: decode instances that compute what is mostly cached die and come back, and everybody else") {
  auto victims = std::vector<std::pair<role, uint32_t>>{
    {role::decode, 0}, {role::prefill, 0}, {role::conductor, 0}, {role::shard, 0}, {role::decode, 1}};
  run_seeds(16, [&](uint64_t seed) { return conditionally(with_deaths(seed, victims)); },
            {"decode: prompt computed here", "session: decode lost"});
}

TEST_CASE("cluster: instances that do both, on rough networks, short of room, and dying") {
  auto victims = std::vector<std::pair<role, uint32_t>>{{role::decode, 0}, {role::conductor, 0}, {role::decode, 1}};
  for (auto how : {coupling::chunked, coupling::prefill_first}) {
    run_seeds(10, [&](uint64_t seed) { return coupled(rough(seed), how); },
              {"decode: prompt computed here", "decode: cancel prompt"});
    run_seeds(6, [&](uint64_t seed) { return coupled(short_of_slots(seed), how); }, {"decode: preempted"});
    run_seeds(8, [&](uint64_t seed) { return coupled(with_deaths(seed, victims), how); },
              {"decode: prompt computed here", "session: decode lost"});
  }
}

TEST_CASE("cluster: prefill instances share the layers of prompts, on rough networks, with clients that leave") {
  auto seeds = testing::seeds(100);
  auto sum = run_seeds(100, [](uint64_t seed) { return pipelined(rough(seed)); },
                       {"prefill: group goes", "prefill: stage failed", "prefill: cancel computing"});
  INFO(sum.text());
  CHECK(sum.clients.finished + sum.clients.left == seeds * 200);
  CHECK(sum.markers["prefill: group goes"] > seeds * 5);
  CHECK(sum.clients.cached_tokens * 20 > sum.clients.prompt_tokens);
}

TEST_CASE("cluster: prefill instances share the layers of prompts, short of room, and die and come back") {
  auto sum = run_seeds(15, [](uint64_t seed) { return pipelined(crowded(seed)); },
                       {"prefill: group goes", "prefill: decode refused"});
  CHECK(sum.clients.errors.empty());
  auto victims = std::vector<std::pair<role, uint32_t>>{
    {role::prefill, 0}, {role::prefill, 3}, {role::decode, 0}, {role::prefill, 1}, {role::conductor, 0}};
  run_seeds(20, [&](uint64_t seed) { return pipelined(with_deaths(seed, victims)); },
            {"prefill: group goes", "prefill: group fell through", "prefill: stage lost", "prefill: stage orphaned",
             "prefill: writer fenced", "decode: writer died"});
  auto broken =
    run_seeds(10, [](uint64_t seed) { return pipelined(with_broken_devices(seed)); }, {"prefill: group goes"});
  CHECK(broken.clients.errors.empty());
}

TEST_CASE("cluster: instances read blocks of the shards beside them in place, while others want room there") {
  for (auto [make, seeds] : {std::pair{+[](uint64_t seed) { return beside(rough(seed)); }, 30},
                             std::pair{+[](uint64_t seed) { return beside(crowded(seed)); }, 8},
                             std::pair{+[](uint64_t seed) { return coupled(rough(seed), coupling::chunked); }, 20},
                             std::pair{+[](uint64_t seed) { return beside(with_broken_devices(seed)); }, 12}}) {
    auto sum = run_seeds(static_cast<uint64_t>(seeds), make, {});
    INFO(sum.text());
    CHECK(sum.lent > testing::seeds(static_cast<uint64_t>(seeds)) * 20);
    CHECK(sum.evicted > 0);
  }
}

TEST_CASE("cluster: instances read blocks of the shards beside them in place, and either ends alone or with its node") {
  auto victims = std::vector<std::pair<role, uint32_t>>{{role::prefill, 0}, {role::decode, 0}, {role::prefill, 2}};
  auto died = run_seeds(12, [&](uint64_t seed) { return beside(with_deaths(seed, victims)); },
                        {"session: prefill lost", "decode: writer died"});
  CHECK(died.lent > 0);
  auto alone = run_seeds(
    20,
    [](uint64_t seed) {
      auto what = beside(rough(seed));
      what.faults = [seed](cluster& target, traffic&) {
        random_stream draw{derived_seed(seed, "ends")};
        for (auto [kind, index] :
             {std::pair{role::shard, 0u}, std::pair{role::prefill, 1u}, std::pair{role::shard, 1u}})
          target.home().at(draw.between(300'000'000, 3'000'000'000),
                           [&target, kind = kind, index = index] { target.end(kind, index); });
      };
      return what;
    },
    {});
  INFO(alone.text());
  CHECK(alone.lent > 0);
  CHECK(alone.clients.errors.empty());
}

TEST_CASE("cluster: what a shard beside a decode instance holds is not written there, on rough networks and through deaths") {
  auto victims = std::vector<std::pair<role, uint32_t>>{{role::prefill, 0}, {role::decode, 1}, {role::conductor, 0}};
  auto make_dying = [&](uint64_t seed) { return together(with_deaths(seed, victims)); };
  auto check = [](const summary& sum) {
    INFO(sum.text());
    CHECK(sum.lent > 0);
    CHECK(sum.markers.at("decode: prefix is here") > 0);
  };
  check(run_seeds(30, [](uint64_t seed) { return together(rough(seed)); }, {}));
  check(run_seeds(10, [](uint64_t seed) { return together(crowded(seed)); }, {}));
  check(run_seeds(12, make_dying, {}));
  check(run_seeds(8, [](uint64_t seed) { return together(with_broken_devices(seed)); }, {}));
}

TEST_CASE("cluster: prompts are computed layer by layer, on rough networks, short of room, and through deaths") {
  auto victims = std::vector<std::pair<role, uint32_t>>{
    {role::prefill, 0}, {role::decode, 1}, {role::conductor, 0}, {role::prefill, 1}};
  auto check = [](const summary& sum) {
    INFO(sum.text());
    CHECK(sum.markers.at("prefill: goes by layer") > 0);
  };
  auto rough_ones = run_seeds(30, [](uint64_t seed) { return by_layer(rough(seed)); },
                              {"prefill: goes by layer", "prefill: cancel computing"});
  check(rough_ones);
  CHECK(rough_ones.clients.finished + rough_ones.clients.left == testing::seeds(30) * 200);
  CHECK(rough_ones.clients.cached_tokens * 20 > rough_ones.clients.prompt_tokens);
  check(run_seeds(12, [](uint64_t seed) { return by_layer(crowded(seed)); }, {"prefill: decode refused"}));
  check(run_seeds(12, [&](uint64_t seed) { return by_layer(with_deaths(seed, victims)); }, {}));
  check(run_seeds(8, [](uint64_t seed) { return by_layer(with_broken_devices(seed)); }, {}));
  check(run_seeds(8, [](uint64_t seed) { return by_layer(together(rough(seed))); }, {}));
}

TEST_CASE("cluster: devices break") {
  auto sum = run_seeds(12, with_broken_devices, {"decode: device error"});
  INFO(sum.text());
  CHECK(sum.clients.errors.empty());
}

TEST_CASE("cluster: the same seed repeats a rough run to the byte") {
  for (uint64_t seed : {3, 4}) {
    auto first = run(rough(seed));
    CHECK(first.digest == run(rough(seed)).digest);
    CHECK(first.digest != run(rough(seed + 100)).digest);
  }
}

TEST_CASE("cluster: the same seed repeats runs in which others compute prompts to the byte") {
  for (auto make : {+[] { return conditionally(rough(3)); }, +[] { return coupled(rough(3), coupling::chunked); },
                    +[] { return pipelined(rough(3)); }, +[] { return by_layer(rough(3)); }})
    CHECK(run(make()).digest == run(make()).digest);
}

TEST_CASE("cluster: the same seed repeats deaths and restarts to the byte") {
  auto make = [] { return with_deaths(5, {{role::decode, 0}, {role::conductor, 0}, {role::prefill, 2}}); };
  CHECK(run(make()).digest == run(make()).digest);
}
