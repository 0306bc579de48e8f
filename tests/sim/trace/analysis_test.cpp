// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/trace/analysis.hpp"

#include "actors/sim/random.hpp"
#include "tests/support/testing.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>

using namespace perigee;
using namespace perigee::sim;

namespace {

trace_request request(std::vector<uint64_t> blocks, uint32_t input_tokens = 0) {
  if (input_tokens == 0)
    input_tokens = static_cast<uint32_t>(blocks.size()) * trace_block_tokens;
  return {0, input_tokens, 1, std::move(blocks)};
}

trace_analysis analyze(const std::vector<trace_request>& requests, analysis_options options) {
  auto analyzer = trace_analyzer{std::move(options)};
  for (const auto& request : requests)
    analyzer.add(request);
  return analyzer.result();
}

/// Prompts that are paths of a random tree, so that each id has one parent.
std::vector<trace_request> random_trace(uint64_t seed, size_t requests, uint64_t branches) {
  auto random = random_stream{seed};
  auto result = std::vector<trace_request>{};
  for (size_t i = 0; i < requests; ++i) {
    auto blocks = std::vector<uint64_t>{};
    for (auto id = random.below(branches) + 1; blocks.size() < 1 + random.below(6);
         id = id * 10 + random.below(branches) + 1)
      blocks.push_back(id);
    if (blocks.empty())
      blocks.push_back(1);
    auto tokens = static_cast<uint32_t>(blocks.size() * trace_block_tokens - random.below(trace_block_tokens));
    result.push_back(request(blocks, tokens));
  }
  return result;
}

/// The definition as it is written: a list of blocks, the newest first.
uint64_t plain_lru_hits(const std::vector<trace_request>& requests, size_t capacity) {
  auto cached = std::vector<uint64_t>{};
  auto hits = uint64_t{0};
  for (const auto& request : requests) {
    for (auto block : request.blocks) {
      if (std::ranges::find(cached, block) == cached.end())
        break;
      ++hits;
    }
    for (auto block = request.blocks.rbegin(); block != request.blocks.rend(); ++block) {
      std::erase(cached, *block);
      cached.insert(cached.begin(), *block);
      cached.resize(std::min(cached.size(), capacity));
    }
  }
  return hits;
}

/// The most hits that any choice of what to keep gives, found by trying them all.
uint64_t best_hits(const std::vector<uint32_t>& accesses, size_t at, const std::set<uint32_t>& cached,
                   size_t capacity) {
  if (at == accesses.size())
    return 0;
  auto block = accesses[at];
  if (cached.contains(block))
    return 1 + best_hits(accesses, at + 1, cached, capacity);
  auto best = best_hits(accesses, at + 1, cached, capacity);
  auto with = cached;
  with.insert(block);
  if (with.size() <= capacity)
    return std::max(best, best_hits(accesses, at + 1, with, capacity));
  for (auto victim : cached) {
    auto without = with;
    without.erase(victim);
    best = std::max(best, best_hits(accesses, at + 1, without, capacity));
  }
  return best;
}

} // namespace

TEST_CASE("analysis: a trace by hand") {
  auto requests = std::vector{request({1, 2, 3}, 1100), request({1, 2, 4}), request({1, 2, 3}, 1100), request({9}, 5)};
  requests[0].arrival_ns = 500;
  requests[3].arrival_ns = 2'500;
  auto result = analyze(requests, {{1535, 1536, 100'000, 0}, true});
  CHECK(result.requests == 4);
  CHECK(result.span_ns == 2'000);
  CHECK(result.input_tokens.sum == 1100 + 1536 + 1100 + 5);
  CHECK(result.output_tokens.sum == 4);
  CHECK(result.blocks == 10);
  CHECK(result.unique_blocks == 5);
  CHECK(result.ideal_hit_blocks == 5);
  CHECK(result.ideal_hit_tokens == 1024 + 1100); // the third block holds 76 tokens
  REQUIRE(result.lru.size() == 4);
  CHECK(result.lru[0].capacity_blocks == 2);
  CHECK(result.lru[0].hit_blocks == 4); // 1 and 2, twice: the end of a prompt is forgotten before its beginning
  CHECK(result.lru[0].hit_tokens == 2048);
  CHECK(result.lru[1].hit_blocks == 4); // 4 took the place of 3
  CHECK(result.lru[1].bound_blocks == 5);
  CHECK(result.lru[2].capacity_tokens == 100'000);
  CHECK(result.lru[2].hit_blocks == 5);
  CHECK(result.lru[3].hit_blocks == 0);
  CHECK(result.lru[3].bound_blocks == 0);
}

TEST_CASE("analysis: a request that is larger than the cache leaves its beginning there") {
  CHECK(analyze({request({1, 2, 3, 4, 5}), request({1, 2, 3, 4, 5})}, {{3 * 512}}).lru[0].hit_blocks == 3);
}

TEST_CASE("analysis: LRU hits are those of the definition, at every capacity") {
  for (uint64_t seed = 0; seed < testing::seeds(40); ++seed) {
    auto requests = random_trace(seed, 60, 3);
    auto options = analysis_options{};
    for (uint64_t blocks = 0; blocks < 40; ++blocks)
      options.cache_tokens.push_back(blocks * 512 + blocks);
    auto result = analyze(requests, options);
    for (const auto& cache : result.lru)
      CHECK(cache.hit_blocks == plain_lru_hits(requests, cache.capacity_blocks));
    CHECK(plain_lru_hits(requests, 10'000) == result.ideal_hit_blocks);
  }
}

TEST_CASE("analysis: the bound is what trying all choices finds") {
  auto random = random_stream{7};
  for (uint64_t round = 0; round < testing::seeds(200); ++round) {
    auto accesses = std::vector<uint32_t>(11);
    for (auto& access : accesses)
      access = static_cast<uint32_t>(random.below(5));
    for (size_t capacity = 0; capacity < 5; ++capacity)
      CHECK(belady_hits(accesses, capacity) == best_hits(accesses, 0, {}, capacity));
  }
  CHECK(belady_hits({}, 3) == 0);
}

TEST_CASE("analysis: no LRU exceeds its bound") {
  for (uint64_t seed = 0; seed < testing::seeds(20); ++seed)
    for (const auto& cache : analyze(random_trace(seed, 100, 4), {{512, 3000, 9000, 30'000}, true}).lru)
      CHECK(cache.hit_blocks <= *cache.bound_blocks);
}

TEST_CASE("statistics: percentiles are of nearest rank") {
  auto four = distribution_of({40, 10, 30, 20});
  CHECK(four.p50 == 20);
  CHECK(four.p90 == 40);
  CHECK(four.max == 40);
  CHECK(four.mean == 25.0);
  auto hundred = std::vector<uint32_t>{};
  for (uint32_t i = 1; i <= 100; ++i)
    hundred.push_back(101 - i);
  CHECK(distribution_of(hundred).p50 == 50);
  CHECK(distribution_of(hundred).p99 == 99);
  auto one = std::vector{7};
  CHECK(nearest_rank(std::span<const int>{one}, 0) == 7);
  CHECK(distribution_of({}).max == 0);
}

TEST_CASE("statistics: a mean has the confidence interval of Student's t") {
  auto four = mean_of(std::vector{1.0, 2.0, 3.0, 4.0}); // standard deviation 1.2910, t 3.182
  CHECK(four.mean == 2.5);
  CHECK(four.half_width == doctest::Approx(2.0540).epsilon(1e-4));
  CHECK(mean_of(std::vector{7.0}).half_width == 0);
  CHECK(mean_of({}).mean == 0);
  auto many = std::vector<double>(101);
  for (size_t i = 0; i < many.size(); ++i)
    many[i] = i % 2 == 0 ? 1 : -1;
  CHECK(mean_of(many).half_width == doctest::Approx(1.96 / std::sqrt(100)).epsilon(1e-3));
}

TEST_CASE("analysis: the known truths of the public conversation trace") {
  auto path = testing::shared("data/traces/conversation_trace.jsonl");
  if (!path)
    return testing::skip("../shared/data/traces/conversation_trace.jsonl is not there");
  auto result = analyze(read_trace_file(path->string()), {{3'000'000}, true});
  CHECK(result.requests == 12'031);
  CHECK(result.span_ns == 3'536'999'000'000);
  CHECK(result.input_tokens.sum == 144'793'823);
  CHECK(result.input_tokens.mean == doctest::Approx(12'035.06).epsilon(1e-6));
  CHECK(result.input_tokens.p50 == 6'909);
  CHECK(result.input_tokens.p90 == 27'367);
  CHECK(result.input_tokens.p99 == 85'401);
  CHECK(result.input_tokens.max == 126'195);
  CHECK(result.output_tokens.sum == 4'122'048);
  CHECK(result.output_tokens.p50 == 350);
  CHECK(result.output_tokens.p90 == 597);
  CHECK(result.output_tokens.p99 == 1'120);
  CHECK(result.output_tokens.max == 2'000);
  CHECK(result.blocks == 288'500);
  CHECK(result.unique_blocks == 182'790);
  CHECK(result.ideal_hit_blocks == 105'710);
  CHECK(result.ideal_hit_tokens == 54'098'411);
  CHECK(result.lru[0].capacity_blocks == 5'859);
  CHECK(result.lru[0].hit_blocks == 39'258);
  CHECK(result.lru[0].hit_tokens == 20'087'299);
  CHECK(*result.lru[0].bound_blocks == 101'884); // 35.3 %
}
