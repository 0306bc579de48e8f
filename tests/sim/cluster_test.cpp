// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/scenario.hpp"
#include "tests/support/testing.hpp"

using namespace perigee;
using namespace perigee::sim;

TEST_CASE("cluster: without faults every request finishes, with the tokens it must have") {
  scenario what;
  what.clients.requests = 60;
  auto result = run(what);
  CHECK(complaint(1, result) == "");
  CHECK(result.clients.finished == 60);
  CHECK(result.clients.errors.empty());
  CHECK(result.clients.cached_tokens > 0);
  CHECK(result.writes_seen > 0);
  CHECK(result.blocks_compared > 0);
}

TEST_CASE("cluster: 200 requests on 11 nodes, rough networks, small caches, clients that leave") {
  std::map<std::string, uint64_t> markers;
  traffic::counters sums;
  auto seeds = testing::seeds(100);
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    auto result = run(rough(seed));
    CHECK(complaint(seed, result) == "");
    for (const auto& [name, count] : result.markers)
      markers[name] += count;
    sums.finished += result.clients.finished;
    sums.left += result.clients.left;
    sums.cached_tokens += result.clients.cached_tokens;
    for (const auto& [code, count] : result.clients.errors)
      sums.errors[code] += count;
  }
  for (const auto& [name, count] : markers)
    MESSAGE(name << ": " << count);
  for (const auto& [code, count] : sums.errors)
    MESSAGE("errors: " << to_string(code) << " " << count);
  CHECK(sums.finished > seeds * 100);
  CHECK(sums.left > seeds * 5);
  CHECK(sums.cached_tokens > seeds * 100);
}

TEST_CASE("cluster: the same seed repeats a rough run to the byte") {
  for (uint64_t seed : {3, 4}) {
    auto first = run(rough(seed));
    CHECK(first.digest == run(rough(seed)).digest);
    CHECK(first.digest != run(rough(seed + 100)).digest);
  }
}
