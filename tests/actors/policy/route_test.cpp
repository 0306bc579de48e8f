// SPDX-License-Identifier: Apache-2.0
#include "actors/policy/registry.hpp"
#include "actors/policy/route_kvcache_centric.hpp"
#include "actors/policy/route_least_seconds.hpp"
#include "tests/support/testing.hpp"

using namespace perigee;

namespace {

instance_load load(role kind, uint32_t index, uint64_t free_at_ns, uint64_t tokens = 0) {
  return {{kind, index, 0, 1}, free_at_ns, 0, tokens, 1000};
}

route_query query(std::vector<candidate> candidates, uint32_t best_blocks) {
  auto result = route_query{};
  result.now_ns = 100;
  result.best_blocks = best_blocks;
  result.prefill_best_ns = 10;
  result.transfer_ns_block = 1;
  result.candidates = std::move(candidates);
  result.decodes = {0, 1};
  return result;
}

} // namespace

TEST_CASE("route_kvcache_centric: it computes from its own prefix unless the best is more than twice as long") {
  auto view = load_view{};
  auto policy = route_kvcache_centric{};
  auto own = policy.decide(query({{0, 10, 40}}, 20), view);
  CHECK_EQ(own.chosen.fetch_blocks, 0);
  CHECK_EQ(own.chosen.ttft_ns, 40);
  auto fetched = policy.decide(query({{0, 10, 40}}, 21), view);
  CHECK_EQ(fetched.chosen.fetch_blocks, 11);
  CHECK_EQ(fetched.chosen.ttft_ns, 11 + 10);
  CHECK_EQ(policy.decide(query({{0, 0, 40}}, 1), view).chosen.fetch_blocks, 1);
}

TEST_CASE("route_kvcache_centric: a queue outweighs a prefix, and a hot prefix is copied to an idle instance") {
  auto view = load_view{};
  view.set(load(role::prefill, 0, 100 + 50));
  auto policy = route_kvcache_centric{};
  auto decision = policy.decide(query({{0, 20, 10}, {1, 0, 90}}, 20), view);
  CHECK_EQ(decision.chosen.prefill, 1);
  CHECK_EQ(decision.chosen.fetch_blocks, 20);
  CHECK_EQ(decision.best.size(), 2);
  CHECK_EQ(decision.best[1].ttft_ns, 60);
}

TEST_CASE("route: ties go to the lowest index, and the decode with the fewest reserved tokens is taken") {
  auto view = load_view{};
  view.set(load(role::decode, 0, 0, 500));
  view.set(load(role::decode, 1, 0, 499));
  auto decision = route_least_seconds{}.decide(query({{2, 0, 7}, {3, 0, 7}}, 0), view);
  CHECK_EQ(decision.chosen.prefill, 2);
  CHECK_EQ(decision.decode, 1);
}

TEST_CASE("route: without a candidate or a decode with room the request is held") {
  auto view = load_view{};
  CHECK_EQ(route_kvcache_centric{}.decide(query({}, 0), view).what, verdict::hold);
  auto no_room = query({{0, 0, 1}}, 0);
  no_room.decodes.clear();
  CHECK_EQ(route_least_seconds{}.decide(no_room, view).what, verdict::hold);
}

TEST_CASE("registry: every policy is found by its name") {
  for (const auto& entry : routing_policies()) {
    CHECK_EQ(find_routing_policy(entry.name), &entry);
    CHECK_FALSE(entry.summary.empty());
  }
  CHECK_EQ(find_routing_policy("no-such-policy"), nullptr);
}
