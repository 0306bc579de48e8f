// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/sim_options.hpp"
#include "apps/perigee/sim_profile.hpp"
#include "apps/perigee/usage.hpp"
#include "tests/support/testing.hpp"

using namespace perigee;
using namespace perigee::cli;

namespace {

/// What the user is told.
template <class Function>
std::string complaint(Function wrong) {
  try {
    wrong();
  } catch (const usage_error& error) {
    return error.what();
  }
  return "nothing";
}

} // namespace

TEST_CASE("sim profile: coefficients come from a file, the rest keeps its default") {
  auto made = parse_profile(R"({"prefill": {"constant_s": 0.1, "token_s": 2e-4, "token2_s": 0},
                                "step": {"constant_s": 0.02, "row_s": 1e-3, "context_token_s": 5e-8},
                                "kv_bytes_token": 1000, "decode_tokens": 4096})",
                            "mine.json");
  CHECK(made.name == "mine.json");
  CHECK(made.costs.prefill_constant == 0.1);
  CHECK(made.costs.prefill_reused == 0);
  CHECK(made.costs.step_row == 1e-3);
  CHECK(made.costs.kv_bytes_token == 1000);
  CHECK(made.costs.network_bytes_second == 87e9);
  CHECK(made.decode_tokens == 4096);
  CHECK(made.cache_tokens == 3'000'000);
}

TEST_CASE("sim profile: a roofline of Llama-3-70B on eight devices is near the built-in profile") {
  auto made = parse_profile(R"({"model": {"hidden_size": 8192, "num_hidden_layers": 80, "num_attention_heads": 64,
      "num_key_value_heads": 8, "intermediate_size": 28672, "vocab_size": 128256},
    "hardware": {"flops": 2.496e15, "achieved": 0.5, "memory_bytes_second": 16.3e12, "nic_bytes_second": 87e9,
      "memory_bytes": 640e9}})",
                            "a800");
  auto known = sim::replay_profile{};
  CHECK(made.costs.kv_bytes_token == 327'680);
  CHECK(made.costs.prefill_token == doctest::Approx(known.costs.prefill_token).epsilon(0.05));
  CHECK(made.costs.step_constant == doctest::Approx(0.00862).epsilon(0.02)); // weights read once, at the full bandwidth
  CHECK(made.handover_layers == 80);
  CHECK(made.decode_tokens == doctest::Approx((640e9 - 141e9) / 327'680).epsilon(0.01));
}

TEST_CASE("sim profile: a benchmark's coefficients are taken from its report, to which sizes may be added") {
  auto made = parse_profile(R"({"threads": 2, "prefill": [], "decode": [], "profile": {"prefill_constant": 1,
                                "prefill_token": 0.01, "prefill_square": 2e-6, "prefill_reused": 3e-6, "step_constant": 0.08,
                                "step_row": 0.02, "step_context_token": 4e-6, "kv_bytes_token": 4096},
                                "together": {"prefill": 1.1, "step": 1.5}, "decode_tokens": 9000})",
                            "bench.json");
  CHECK(made.costs.prefill_constant == 1);
  CHECK(made.costs.prefill_token == 0.01);
  CHECK(made.costs.prefill_square == 2e-6);
  CHECK(made.costs.prefill_reused == 3e-6);
  CHECK(made.costs.step_constant == 0.08);
  CHECK(made.costs.step_row == 0.02);
  CHECK(made.costs.step_context_token == 4e-6);
  CHECK(made.costs.kv_bytes_token == 4096);
  CHECK(made.chunks_alone);
  CHECK(made.together_prefill == 1.1);
  CHECK(made.together_step == 1.5);
  CHECK(made.decode_tokens == 9000);
  CHECK(complaint([] { parse_profile(R"({"profile": {"prefill_constant": 1}})", "p"); })
        == "--profile: p.profile.prefill_token: allowed: a value; it is missing");
}

TEST_CASE("sim profile: what is wrong is told by field") {
  CHECK(complaint([] { parse_profile("{", "p"); }).find("--profile: p: not JSON") == 0);
  CHECK(complaint([] { parse_profile("[]", "p"); }) == "--profile: p: allowed: an object");
  CHECK(complaint([] { parse_profile(R"({"prefill": {"constant_s": -1}})", "p"); })
        == "--profile: p.prefill.constant_s: allowed: a number of at least 0");
  CHECK(complaint([] { parse_profile(R"({"prefill": {}})", "p"); })
        == "--profile: p.prefill.constant_s: allowed: a value; it is missing");
  CHECK(complaint([] {
          parse_profile(R"({"prefill": {"constant_s": 1, "token_s": 1, "token2_s": 1}, "step": {"constant_s": 1,
                            "row_s": 1, "context_token_s": 1}, "typo": 1})",
                        "p");
        })
        == "--profile: p.typo: unknown field; see docs/simulation.md");
  CHECK(complaint([] { load_profile("/nowhere.json"); }).find("found \"/nowhere.json\"") != std::string::npos);
}

TEST_CASE("sim options: durations, promises and seeds") {
  CHECK(parse_duration("30s", "--x") == 30'000'000'000);
  CHECK(parse_duration("1.5ms", "--x") == 1'500'000);
  CHECK(parse_duration("2min", "--x") == 120'000'000'000);
  CHECK(complaint([] { parse_duration("30", "--deadline"); }).find("--deadline: found \"30\"") == 0);
  auto promised = parse_slo("tbt=200ms");
  CHECK(promised.tbt_ns == 200'000'000);
  CHECK(promised.ttft_ns == 30'000'000'000);
  CHECK(complaint([] { parse_slo("tpot=1s"); }).find("--slo") == 0);
  CHECK(parse_seeds("7") == std::pair<uint64_t, uint64_t>{7, 7});
  CHECK(parse_seeds("2..5") == std::pair<uint64_t, uint64_t>{2, 5});
  CHECK(complaint([] { parse_seeds("5..2"); }).find("--seeds") == 0);
}

TEST_CASE("sim options: a run for each policy, admission, speed and seed; unknown names are refused") {
  sim_flags flags;
  flags.policies = {"kvcache-centric", "least-seconds"};
  flags.admissions = {"none", "early"};
  flags.speeds = {1, 2};
  flags.seed = "1..3";
  CHECK(plan_sim(flags).runs.size() == 24);
  flags.policies = {"best"};
  CHECK(complaint([&] { plan_sim(flags); }).find("--policy: found \"best\", allowed ") == 0);
  flags.policies = {"least-seconds"};
  flags.admissions = {"maybe"};
  CHECK(complaint([&] { plan_sim(flags); }).find("--admission: found \"maybe\"") == 0);
  flags.admissions = {"none"};
  flags.noise = "prefill=2";
  CHECK(complaint([&] { plan_sim(flags); }).find("--noise: found \"prefill=2\"") == 0);
  flags.noise = "prefill=0.2,reports=100ms,events=0.05";
  auto noise = plan_sim(flags).common.cluster.noise;
  CHECK(noise.prefill_sigma == 0.2);
  CHECK(noise.report_age_ns == 100'000'000);
  CHECK(noise.lost_events_ppm == 50'000);
}
