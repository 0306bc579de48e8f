// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/replay/replay.hpp"
#include "tests/sim/replay/drawn_trace.hpp"
#include "tests/sim/replay/replay_digest.hpp"
#include "tests/support/testing.hpp"

#include <array>
#include <cmath>
#include <cstdio>
#include <filesystem>

using namespace perigee;
using namespace perigee::sim;

namespace {

replay_options small_cluster() {
  replay_options options;
  options.cluster.prefills = 2;
  options.cluster.decodes = 2;
  return options;
}

trace_request lone_request(uint32_t input_tokens, uint32_t output_tokens, uint64_t first_block) {
  trace_request made;
  made.input_tokens = input_tokens;
  made.output_tokens = output_tokens;
  for (uint64_t i = 0; i < trace_blocks(input_tokens); ++i)
    made.blocks.push_back(first_block + i);
  return made;
}

double profile_seconds(double n, double p) {
  return 0.048 + 1.107e-4 * (n - p) + 7.25e-10 * (n * n - p * p) + 2.94e-6 * p;
}

} // namespace

TEST_CASE("replay: a request alone takes what the profile says, and a few control messages") {
  std::vector<trace_request> trace{lone_request(10'000, 3, 0)};
  auto result = run_replay(trace, small_cluster());
  CHECK(result.problems == std::vector<std::string>{});
  const auto& it = result.records.at(0);
  CHECK(it.finished);
  CHECK(it.output_tokens == 3);
  auto ttft = static_cast<double>(it.ttft_ns) / 1e9;
  CHECK(ttft > profile_seconds(10'000, 0));
  CHECK(ttft < profile_seconds(10'000, 0) + 0.001);
  // The first gap waits for the rest of the hand-over: an eightieth of 20 blocks at 87 GB/s is 0.5 ms.
  auto step = 0.0263 + 1e-4 + 3.43e-8 * 10'002;
  auto gap = static_cast<double>(it.tbt_ns) / 1e9;
  CHECK(gap > step);
  CHECK(gap < step + 0.001);
  auto last = static_cast<double>(it.last_token_ns) / 1e9;
  CHECK(last > ttft + 2 * step);
  CHECK(last < ttft + 2 * step + 0.002);
  CHECK(result.decode_steps == 2);
  CHECK(result.prefill_s == doctest::Approx(profile_seconds(10'000, 0)));
  CHECK(result.handed_over_tokens == 20 * 512);
}

TEST_CASE("replay: where chunks are measured alone, each pays the constant and for what lies before it") {
  auto options = small_cluster();
  options.cluster.profile.chunks_alone = true;
  auto result = run_replay(std::vector<trace_request>{lone_request(10'000, 1, 0)}, options);
  CHECK(result.prefill_s == doctest::Approx(profile_seconds(10'000, 0) + 2 * 0.048 + 2.94e-6 * (4096 + 8192)));
}

TEST_CASE("replay: what shares a machine takes longer while both compute, and no longer than that") {
  // The second prompt is computed while the first answer is decoded, which ends before.
  auto second = lone_request(20'000, 2, 100);
  second.arrival_ns = 600'000'000;
  auto trace = std::vector{lone_request(4096, 20, 0), second};
  auto options = small_cluster();
  options.cluster.prefills = options.cluster.decodes = 1;
  auto apart = run_replay(trace, options).records;
  options.cluster.profile.together_prefill = 1.5;
  options.cluster.profile.together_step = 2;
  auto records = run_replay(trace, options).records;
  auto seconds = [](uint64_t ns) { return static_cast<double>(ns) / 1e9; };
  CHECK(records.at(0).ttft_ns == apart.at(0).ttft_ns);
  // From 0.6 s on each of its steps takes twice as long, and each such second costs the prompt a third of one.
  auto decoded = seconds(apart.at(0).last_token_ns);
  CHECK(decoded > 0.8);
  auto beside = 2 * (decoded - 0.6);
  CHECK(seconds(records.at(0).last_token_ns) == doctest::Approx(0.6 + beside).epsilon(0.01));
  CHECK(seconds(records.at(1).ttft_ns) == doctest::Approx(seconds(apart.at(1).ttft_ns) + beside / 3).epsilon(0.01));
}

TEST_CASE("replay: blocks of 16 tokens are shared, and a decode step has as many sequences as it is allowed") {
  auto first = trace_request{};
  first.input_tokens = 40;
  first.output_tokens = 9;
  first.blocks = {1, 2, 3};
  auto second = first;
  second.arrival_ns = 1'000'000'000;
  second.blocks = {1, 2, 4};
  auto third = second;
  third.blocks = {5, 6, 7};
  auto options = small_cluster();
  options.cluster.prefills = options.cluster.decodes = 1;
  options.cluster.block_tokens = 16;
  options.cluster.chunk_tokens = 32;
  auto together = run_replay(std::vector{first, second, third}, options);
  CHECK(together.records.at(0).cached_tokens == 0);
  CHECK(together.records.at(1).cached_tokens == 32);
  CHECK(together.records.at(2).cached_tokens == 0);
  options.cluster.batch_max = 1;
  auto alone = run_replay(std::vector{first, second, third}, options);
  CHECK(alone.decode_rows == 3 * 8);
  CHECK(alone.decode_steps == 3 * 8);
  CHECK(together.decode_rows == 3 * 8);
  CHECK(together.decode_steps < 3 * 8);
}

TEST_CASE("replay: instances that share the layers of a long prompt take a part of its time, and the last chunk's way") {
  constexpr auto tokens = 85'000u;
  constexpr auto chunk = 4096u;
  std::vector<trace_request> trace{lone_request(tokens, 40, 0)}; // Decoded while layers are gathered.
  auto options = small_cluster();
  options.cluster.prefills = 4;
  auto alone = run_replay(trace, options);
  CHECK(alone.records.at(0).ttft_ns > 14'000'000'000);
  options.cluster.groups = pipelining{16'384, 8, chunk};
  auto result = run_replay(trace, options);
  CHECK(result.problems == std::vector<std::string>{});
  REQUIRE(result.records.at(0).finished);
  // A chunk begins at a stage when it left the one before, and the stage has done the chunk before.
  auto ends = std::array<double, 4>{};
  for (auto start = 0u; start < tokens; start += chunk) {
    auto end = std::min(tokens, start + chunk);
    auto takes = profile_seconds(end, 0) - (start == 0 ? 0 : profile_seconds(start, 0));
    for (auto stage = 0u; stage < 4; ++stage)
      ends[stage] = std::max(ends[stage], stage == 0 ? 0 : ends[stage - 1]) + takes / 4;
  }
  auto ttft = static_cast<double>(result.records[0].ttft_ns) / 1e9;
  CHECK(ttft > ends[3]);
  CHECK(ttft < ends[3] + 0.02); // Control messages, and activations on the wire.
  CHECK(ttft < 5);
  CHECK(result.prefill_s == doctest::Approx(profile_seconds(tokens, 0)));
  // All of the KV went to decode, the layers of three stages to the head for its shard, activations beside.
  auto kv = 167.0 * 512;
  CHECK(result.handed_over_tokens > kv + 0.74 * 166 * 512);
  CHECK(result.handed_over_tokens < 2 * kv + 0.16 * kv);
}

TEST_CASE("replay: the timeline has what each instance of a group computes, and what it computes afterwards") {
  std::vector<trace_request> trace{lone_request(85'000, 2, 0)};
  for (auto i = 0u; i < 3; ++i) {
    trace.push_back(lone_request(12'000, 2, 10'000 * (i + 1)));
    trace.back().arrival_ns = 10'000'000'000;
  }
  auto options = small_cluster();
  options.cluster.prefills = 3;
  options.cluster.groups = pipelining{16'384, 3, 4096};
  options.cluster.chunk_tokens = 4096;
  auto recorder = run_recorder{true};
  options.recorder = &recorder;
  auto result = run_replay(trace, options);
  auto seen = recorder.finish(result.records);
  auto computed = std::array<std::map<uint32_t, uint64_t>, 4>{}; // tokens by request and instance
  auto busy_ns = uint64_t{0};
  for (const auto& slice : seen.slices)
    if (slice.kind == slice_kind::chunk) {
      computed.at(slice.request)[slice.instance] += slice.tokens;
      busy_ns += slice.end_ns - slice.begin_ns;
    }
  CHECK(computed[0] == std::map<uint32_t, uint64_t>{{0, 85'000}, {1, 85'000}, {2, 85'000}});
  for (auto i = 1u; i < 4; ++i) {
    CHECK(computed[i].size() == 1);
    CHECK(computed[i].begin()->second == 12'000);
  }
  CHECK(static_cast<double>(busy_ns) / 1e9 == doctest::Approx(result.prefill_s));
  auto first_chunk_ns = static_cast<uint64_t>(1e9 * profile_seconds(4096, 0) / 3);
  CHECK(seen.requests[0].prefill_begin_ns < first_chunk_ns); // Before the head, which has the last layers.
}

TEST_CASE("replay: the second of two equal prompts computes one token, also of a partial last block") {
  std::vector<trace_request> trace{lone_request(1'000, 2, 0), lone_request(1'000, 2, 0)};
  trace[1].arrival_ns = 5'000'000'000;
  auto result = run_replay(trace, small_cluster());
  CHECK(result.records.at(0).cached_tokens == 0);
  CHECK(result.records.at(1).cached_tokens == 999);
  CHECK(result.prefill_s == doctest::Approx(profile_seconds(1'000, 0) + profile_seconds(1'000, 999)));
}

TEST_CASE("replay: conditional: the second turn is computed at decode, between steps, from the prefix it fetched") {
  // The first keeps decoding, the second keeps the prefill instance busy.
  std::vector<trace_request> trace{lone_request(10'240, 500, 0), lone_request(30'720, 5, 5'000),
                                   lone_request(11'000, 5, 0)};
  trace[1].arrival_ns = 4'900'000'000;
  trace[2].arrival_ns = 5'000'000'000;
  for (size_t i = 20; i < trace[2].blocks.size(); ++i)
    trace[2].blocks[i] = 1'000 + i;
  auto options = small_cluster();
  options.cluster.prefills = options.cluster.decodes = 1;
  options.cluster.at_decode = conditional{};
  options.cluster.slo_tbt_ns = 500'000'000; // Room for a step with a chunk.
  options.cluster.mixed_chunk_tokens = 512;
  auto result = run_replay(trace, options);
  CHECK(result.problems == std::vector<std::string>{});
  const auto& it = result.records.at(2);
  CHECK(it.cached_tokens == 10'240);
  CHECK(it.output_tokens == 5);
  // The first two, and what decode computed, to the shard of its prefix.
  CHECK(result.handed_over_tokens == (20 + 60 + 2) * 512);
  CHECK(result.moved_tokens == 10'240);
  // Fetching 20 blocks beside a hand-over, at most one step to wait for, two chunks with a step between them.
  auto step = 0.0263 + 1e-4 + 3.43e-8 * 10'400;
  auto ttft = static_cast<double>(it.ttft_ns) / 1e9;
  auto computed = profile_seconds(11'000, 10'240) + 10'240 * 3.766e-6;
  CHECK(ttft > computed + step);
  CHECK(ttft < computed + 2 * step + 0.05);
}

TEST_CASE("replay: coupled: with prefill-first a prompt stalls sequences, in chunks it slows them") {
  std::vector<trace_request> trace{lone_request(512, 300, 0), lone_request(20'480, 3, 100)};
  trace[1].arrival_ns = 1'000'000'000;
  auto gap_of = [&](coupling how) {
    auto options = small_cluster();
    options.cluster.prefills = 1;
    options.cluster.decodes = 0;
    options.cluster.coupled = how;
    auto result = run_replay(trace, options);
    CHECK(result.problems == std::vector<std::string>{});
    CHECK(result.handed_over_tokens == 0);
    CHECK(result.prefill_s == doctest::Approx(profile_seconds(512, 0) + profile_seconds(20'480, 0)));
    return std::pair{static_cast<double>(result.records.at(0).tbt_ns) / 1e9,
                     static_cast<double>(result.records.at(1).ttft_ns) / 1e9};
  };
  auto step = 0.0263 + 1e-4 + 3.43e-8 * 700;
  auto [stalled_gap, first_ttft] = gap_of(coupling::prefill_first);
  CHECK(first_ttft < profile_seconds(20'480, 0) + step + 0.001);
  // Thirty of the 299 gaps: one of them has the whole prompt.
  CHECK(stalled_gap > profile_seconds(20'480, 0) / 30);
  auto [mixed_gap, mixed_ttft] = gap_of(coupling::chunked);
  CHECK(mixed_ttft > profile_seconds(20'480, 0) + 19 * step);
  CHECK(mixed_ttft < profile_seconds(20'480, 0) + 21 * step);
  CHECK(mixed_gap > 0.1); // Twenty of them have 1,024 tokens.
}

TEST_CASE("replay: coupled: an instance reuses what it computed itself, and nothing else") {
  std::vector<trace_request> trace{lone_request(5'120, 2, 0), lone_request(5'120, 2, 0)};
  trace[1].arrival_ns = 5'000'000'000;
  auto options = small_cluster();
  options.cluster.coupled = coupling::chunked;
  auto result = run_replay(trace, options);
  CHECK(result.records.at(1).cached_tokens == 5'119);
  CHECK(result.moved_tokens == 0);
  options.cluster.policy = "round-robin";
  result = run_replay(trace, options);
  CHECK(result.records.at(1).cached_tokens == 0);
  CHECK(result.moved_tokens == 0);
}

TEST_CASE("replay: a prefix that lies at a busy instance is fetched from there") {
  // The first request leaves 40 blocks at one instance; then something long keeps that one busy.
  std::vector<trace_request> trace{lone_request(20'480, 2, 0), lone_request(30'720, 2, 0), lone_request(21'000, 2, 0)};
  trace[1].arrival_ns = 10'000'000'000;
  trace[2].arrival_ns = 10'100'000'000;
  for (size_t i = 40; i < trace[1].blocks.size(); ++i)
    trace[1].blocks[i] = 1'000 + i;
  for (size_t i = 40; i < trace[2].blocks.size(); ++i)
    trace[2].blocks[i] = 2'000 + i;
  auto result = run_replay(trace, small_cluster());
  CHECK(result.records.at(1).cached_tokens == 20'480);
  CHECK(result.records.at(2).cached_tokens == 20'480);
  CHECK(result.moved_tokens == 20'480);
  // 6.7 GB at 87 GB/s, and the prefill of 520 tokens.
  auto ttft = static_cast<double>(result.records.at(2).ttft_ns) / 1e9;
  CHECK(ttft == doctest::Approx(20'480.0 * 327'680 / 87e9 + profile_seconds(21'000, 20'480)).epsilon(0.02));
}

TEST_CASE("replay: without known lengths the answers are the same") {
  auto trace = drawn_trace(3, 60);
  auto known = small_cluster();
  auto unknown = known;
  unknown.clients.lengths_known = false;
  auto first = run_replay(trace, known);
  auto second = run_replay(trace, unknown);
  for (size_t i = 0; i < trace.size(); ++i) {
    CHECK(first.records[i].output_tokens == trace[i].output_tokens);
    CHECK(second.records[i].output_tokens == trace[i].output_tokens);
    CHECK(second.records[i].finished);
  }
}

TEST_CASE("replay: many at once are served in their order, and none is lost for waiting") {
  std::vector<trace_request> trace;
  for (uint32_t i = 0; i < 300; ++i)
    trace.push_back(lone_request(6'000, 2, 100 * i));
  auto options = small_cluster();
  options.cluster.prefills = 1;
  auto result = run_replay(trace, options);
  CHECK(result.problems == std::vector<std::string>{});
  for (size_t i = 1; i < trace.size(); ++i) {
    CHECK(result.records[i].finished);
    CHECK(result.records[i].ttft_ns > result.records[i - 1].ttft_ns);
  }
  CHECK(static_cast<double>(result.records.back().ttft_ns) / 1e9
        == doctest::Approx(300 * profile_seconds(6'000, 0)).epsilon(0.001));
}

TEST_CASE("replay: a deadline ends what is too late, by name") {
  std::vector<trace_request> trace{lone_request(50'000, 2, 0), lone_request(50'000, 2, 1'000)};
  auto options = small_cluster();
  options.cluster.prefills = 1;
  options.clients.deadline_ns = 10'000'000'000;
  auto result = run_replay(trace, options);
  CHECK(result.records.at(0).finished);
  CHECK(result.records.at(1).error == ec::deadline);
}

TEST_CASE("replay: noise keeps the devices' work, and moves who gets it when") {
  auto trace = drawn_trace(5, 200);
  auto exact = small_cluster();
  auto noisy = exact;
  noisy.cluster.noise = {0.2, 500'000'000, 50'000};
  auto a = run_replay(trace, exact);
  auto b = run_replay(trace, noisy);
  CHECK(b.problems == std::vector<std::string>{});
  CHECK(a.prefill_s != b.prefill_s);
  for (const auto& it : b.records)
    CHECK(it.finished);
}

TEST_CASE("replay: factors of noise have a mean of one and the spread that was asked for") {
  CHECK(log_normal_factors(0).empty());
  auto factors = log_normal_factors(0.2);
  auto mean = 0.0;
  auto logs = 0.0;
  for (auto factor : factors) {
    mean += factor / static_cast<double>(factors.size());
    logs += std::log(factor) * std::log(factor) / static_cast<double>(factors.size());
  }
  CHECK(mean == doctest::Approx(1));
  CHECK(std::sqrt(logs) == doctest::Approx(0.2).epsilon(0.03));
}

TEST_CASE("replay: the same seed gives the same digest, another one another") {
  auto first = replay_digest(1);
  CHECK(first.size() == 64);
  CHECK(first == replay_digest(1));
  CHECK(first != replay_digest(2));
}

TEST_CASE("replay: another process gets the same digest") {
  auto program = std::filesystem::read_symlink("/proc/self/exe").string();
  auto* pipe = popen(("'" + program + "' --replay-digest=1").c_str(), "r");
  REQUIRE(pipe != nullptr);
  char line[128] = {};
  CHECK(std::fgets(line, sizeof(line), pipe) != nullptr);
  CHECK(pclose(pipe) == 0);
  CHECK(std::string{line} == replay_digest(1) + "\n");
}

TEST_CASE("replay: control messages that are written and read back change nothing") {
  auto trace = drawn_trace(4, 60);
  auto fast = small_cluster();
  auto written = fast;
  written.cluster.serialize = true;
  auto a = run_replay(trace, fast);
  auto b = run_replay(trace, written);
  CHECK(b.problems == std::vector<std::string>{});
  for (size_t i = 0; i < trace.size(); ++i) {
    CHECK(a.records[i].cached_tokens == b.records[i].cached_tokens);
    CHECK(static_cast<double>(a.records[i].ttft_ns) == doctest::Approx(static_cast<double>(b.records[i].ttft_ns)).epsilon(0.01));
  }
}

TEST_CASE("replay: the first thousand requests of the conversation trace") {
  auto path = testing::shared("data/traces/conversation_trace.jsonl");
  if (!path)
    return testing::skip("the public conversation trace is not beside the checkout");
  auto trace = read_trace_file(path->string());
  trace.resize(1'000);
  replay_options options;
  options.cluster.policy = "least-seconds";
  auto result = run_replay(trace, options);
  CHECK(result.problems == std::vector<std::string>{});
  auto sum = summarize(result.records, {});
  CHECK(sum.finished == 1'000);
  CHECK(sum.input_tokens == 13'732'944);
  CHECK(sum.ttft_ns.mean / 1e9 == doctest::Approx(2.3).epsilon(0.2));
}
