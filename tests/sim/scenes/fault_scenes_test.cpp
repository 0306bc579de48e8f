// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/scenario.hpp"
#include "tests/support/testing.hpp"

using namespace perigee;
using namespace perigee::sim;

namespace {

const std::vector<std::string> survivors{"kvcache-centric", "perigee", "central"};
constexpr uint64_t seeds_full = 4;

/// Three prefill instances that are busy most of the time, and conversations that find what they began with.
scenario busy(uint64_t seed, const std::string& policy) {
  scenario what;
  what.run.seed = seed;
  what.nodes.policy = policy;
  what.nodes.gateways = 2;
  what.clients.requests = 300;
  what.clients.gap_ns_max = 6'000'000;
  what.clients.prefixes = 4;
  what.clients.prefix_tokens_max = 48;
  return what;
}

constexpr uint64_t peak_ns = 400'000'000; // a little before half of the requests have come

} // namespace

TEST_CASE("scene cache shard lost at peak: nobody notices but by waiting, and what it had is computed again and found "
          "elsewhere") {
  for (uint64_t seed = 1; seed <= testing::seeds(seeds_full); ++seed)
    for (const auto& policy : survivors) {
      INFO("policy " << policy << ", seed " << seed);
      auto what = busy(seed, policy);
      auto leases_before = size_t{0};
      auto indexed_after = size_t{0};
      what.faults = [&](cluster& target, traffic& clients) {
        target.home().at(peak_ns, [&] {
          leases_before = target.shard_state_of(1)->index().size();
          target.kill(target.node_of(role::shard, 1));
        });
        // What comes once all nodes know of it must not even be tried again.
        target.home().at(peak_ns + 3'000'000'000, [&] {
          clients.expect_success();
          indexed_after = target.conductor_state_of()->index().blocks_of(1);
        });
      };
      auto result = run(what);
      CHECK(result.problems == std::vector<std::string>{});
      CHECK(result.clients.errors.empty());
      CHECK(result.clients.finished == 300);
      CHECK(leases_before > 0);
      CHECK(indexed_after == 0);
      CHECK(result.clients.cached_tokens * 5 > result.clients.prompt_tokens);
    }
}

TEST_CASE("scene starvation: an instance that comes back gets its share of the work again") {
  for (uint64_t seed = 1; seed <= testing::seeds(seeds_full); ++seed)
    for (const auto& policy : survivors) {
      INFO("policy " << policy << ", seed " << seed);
      auto what = busy(seed, policy);
      std::vector<uint64_t> placed(what.nodes.prefills);
      what.faults = [&](cluster& target, traffic&) {
        auto node = target.node_of(role::prefill, 1);
        target.home().at(peak_ns / 4, [&target, node] { target.kill(node); });
        target.home().at(peak_ns / 2, [&target, node] { target.start(node); });
        target.home().at(5'000'000'000, [&] {
          for (const auto& made : target.conductor_state_of()->decisions())
            if (made.decision.what == verdict::place && made.at_ns > 1'000'000'000 + peak_ns)
              ++placed[made.decision.chosen.prefill];
        });
      };
      auto result = run(what);
      CHECK(result.problems == std::vector<std::string>{});
      CHECK(result.clients.errors.empty());
      INFO(placed[0] << " " << placed[1] << " " << placed[2]);
      CHECK(placed[1] * 6 > placed[0] + placed[1] + placed[2]);
    }
}
