// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/trace/draw.hpp"

#include "actors/sim/trace/analysis.hpp"
#include "actors/sim/trace/quantile_table.hpp"
#include "tests/support/testing.hpp"
#include "transport/base/status.hpp"

#include <doctest/doctest.h>

#include <array>
#include <map>
#include <sstream>

using namespace perigee;
using namespace perigee::sim;

namespace {

constexpr std::array<const char*, 4> kinds = {"conversation:1", "agent:1", "documents:1", "short:1"};

std::vector<trace_request> draw(const char* spec, uint64_t requests) {
  auto parsed = parse_draw(spec);
  return draw_trace(parsed, requests, default_gap_ns(parsed.kind));
}

trace_analysis analyze(const std::vector<trace_request>& requests) {
  auto analyzer = trace_analyzer{{{3'000'000}}};
  for (const auto& request : requests)
    analyzer.add(request);
  return analyzer.result();
}

double hit_share(const trace_analysis& result) {
  return static_cast<double>(result.ideal_hit_tokens) / static_cast<double>(result.input_tokens.sum);
}

/// `value` lies within `percent` of `expected`.
bool near(double value, double expected, double percent) {
  auto off = value - expected;
  return (off < 0 ? -off : off) <= expected * percent / 100;
}

/// By first block that only one session has: how many requests.
std::map<uint64_t, size_t> sessions(const std::vector<trace_request>& requests, size_t shared_blocks) {
  auto result = std::map<uint64_t, size_t>{};
  for (const auto& request : requests)
    if (request.blocks.size() > shared_blocks)
      ++result[request.blocks[shared_blocks]];
  return result;
}

} // namespace

TEST_CASE("draw: the same seed draws the same requests, another seed others") {
  for (auto spec : kinds) {
    CHECK(draw(spec, 300) == draw(spec, 300));
    auto other = std::string{spec}.replace(std::string{spec}.find(':'), 2, ":2");
    CHECK_FALSE(draw(spec, 300) == draw(other.c_str(), 300));
  }
}

TEST_CASE("draw: what is drawn does not change from one build or machine to another") {
  auto sum_of = [](const char* spec) {
    auto requests = draw(spec, 1000);
    auto sum = uint64_t{0};
    for (const auto& request : requests)
      sum = sum * 31 + request.arrival_ns + request.input_tokens + 7 * request.output_tokens + request.blocks.back();
    return sum;
  };
  CHECK(sum_of("conversation:1") == 14218072586756290579u);
  CHECK(sum_of("agent:1") == 2060901787816317658u);
  CHECK(sum_of("documents:1") == 12565727920988812549u);
  CHECK(sum_of("short:1") == 13389853565819238167u);
}

TEST_CASE("draw: what is drawn is a valid trace") {
  for (auto spec : kinds) {
    auto requests = draw(spec, 2000);
    auto text = std::stringstream{};
    for (const auto& request : requests)
      write_trace_line(text, request);
    CHECK(read_trace(text, spec) == requests);
  }
}

TEST_CASE("draw: requests come at the rate asked for") {
  for (auto spec : {"agent:3", "documents:3", "short:3", "conversation:3"}) {
    auto requests = draw_trace(parse_draw(spec), 20'000, 50'000'000);
    CHECK(near(static_cast<double>(requests.back().arrival_ns), 20'000 * 50e6, 3));
  }
}

TEST_CASE("draw: exponential times have the mean and the tail of an exponential distribution") {
  auto random = random_stream{5};
  auto sum = 0.0;
  auto above_mean = 0;
  auto above_three = 0;
  constexpr auto draws = 100'000;
  for (int i = 0; i < draws; ++i) {
    auto value = draw_exponential(random, 10'000'000'000);
    sum += static_cast<double>(value);
    above_mean += value > 10'000'000'000;
    above_three += value > 30'000'000'000;
  }
  CHECK(near(sum / draws, 1e10, 2));
  CHECK(near(above_mean, draws * 0.36788, 2));
  CHECK(near(above_three, draws * 0.04979, 5));
}

TEST_CASE("draw: a quantile table draws its quantiles") {
  auto table = quantile_table{{0, 10}, {500, 100}, {900, 100}, {1000, 1100}};
  auto random = random_stream{6};
  auto values = std::vector<uint32_t>{};
  for (int i = 0; i < 50'000; ++i)
    values.push_back(static_cast<uint32_t>(table.draw(random)));
  auto drawn = distribution_of(values);
  CHECK(drawn.p50 >= 99);
  CHECK(drawn.p90 <= 120);
  CHECK(near(drawn.p99, 1000, 3));
  CHECK(drawn.max < 1100);
}

TEST_CASE("draw: conversation has the statistics of the public conversation trace") {
  auto requests = draw("conversation:1", 12'031);
  auto result = analyze(requests);
  CHECK(near(static_cast<double>(result.span_ns), 3537e9, 5));
  CHECK(near(result.input_tokens.mean, 12'035, 10));
  CHECK(near(result.input_tokens.p50, 6'909, 10));
  CHECK(near(result.input_tokens.p90, 27'367, 15));
  CHECK(near(result.input_tokens.p99, 85'401, 20));
  CHECK(result.input_tokens.max <= 126'195);
  CHECK(near(result.output_tokens.mean, 342.6, 5));
  CHECK(near(result.output_tokens.p50, 350, 5));
  CHECK(near(result.output_tokens.p99, 1'120, 10));
  CHECK(hit_share(result) > 0.32);
  CHECK(hit_share(result) < 0.42);
  auto at_3m = static_cast<double>(result.lru[0].hit_tokens) / static_cast<double>(result.input_tokens.sum);
  CHECK(at_3m > 0.10);
  CHECK(at_3m < 0.17);
  for (const auto& request : requests) {
    CHECK_UNARY(request.blocks.front() == 0);
    CHECK_UNARY(request.arrival_ns % 3'000'000'000 == 0);
  }
}

TEST_CASE("draw: agents share eight system prompts and take many short turns") {
  auto requests = draw("agent:1", 12'000);
  auto result = analyze(requests);
  auto prompts = std::map<uint64_t, size_t>{};
  for (const auto& request : requests)
    ++prompts[request.blocks.front()];
  CHECK(prompts.size() == 8);
  CHECK(prompts.begin()->second > 2 * prompts.rbegin()->second); // the first is the most popular
  CHECK(hit_share(result) > 0.85);
  CHECK(result.output_tokens.max <= 320);
  CHECK(result.input_tokens.p50 > 6'000);
  CHECK(result.input_tokens.p50 < 12'000);
}

TEST_CASE("draw: documents are long and asked about two to eight times") {
  auto requests = draw("documents:1", 12'000);
  auto result = analyze(requests);
  CHECK(result.input_tokens.p50 > 20'000);
  CHECK(result.input_tokens.max < 98'304 + 257);
  auto asked = sessions(requests, 0);
  auto total = size_t{0};
  for (auto [document, times] : asked) {
    CHECK_UNARY(times <= 8);
    total += times;
  }
  CHECK(near(static_cast<double>(total) / static_cast<double>(asked.size()), 5, 5));
  CHECK(hit_share(result) > 0.7);
}

TEST_CASE("draw: short prompts are 256 in, 256 out, and share nothing") {
  auto requests = draw("short:1", 1000);
  for (const auto& request : requests)
    CHECK_UNARY(request.input_tokens == 256 && request.output_tokens == 256 && request.blocks.size() == 1);
  CHECK(analyze(requests).unique_blocks == 1000);
}

TEST_CASE("draw: an unknown kind or a missing seed is refused") {
  for (auto bad : {"", "conversation", "conversation:", "chat:1", "agent:x", "agent:-1", "agent:1 ", ":1",
                   "agent:18446744073709551616"})
    CHECK_THROWS_WITH_AS(parse_draw(bad), doctest::Contains("allowed is KIND:SEED"), failure);
  CHECK(parse_draw("short:18446744073709551615").seed == UINT64_MAX);
}
