// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/replay/simulation.hpp"

#include "actors/sim/trace/draw.hpp"
#include "tests/support/testing.hpp"
#include "transport/base/status.hpp"

using namespace perigee;
using namespace perigee::sim;

namespace {

std::vector<trace_request> few_requests() {
  return draw_trace(parse_draw("short:1"), 40, default_gap_ns(traffic_kind::short_prompts));
}

simulation small() {
  auto wanted = simulation{};
  wanted.prefills = 2;
  wanted.decodes = 1;
  return wanted;
}

std::string refusal(const simulation& wanted, const std::vector<trace_request>& trace) {
  try {
    simulate(trace, wanted);
  } catch (const failure& error) {
    CHECK_EQ(error.code(), errc::invalid_argument);
    return error.what();
  }
  return "accepted";
}

} // namespace

TEST_CASE("simulation: the same arguments give the same digest, another policy, seed or parameter another one") {
  auto trace = few_requests();
  auto first = simulate(trace, small());
  CHECK_EQ(first.requests.size(), 40);
  CHECK_EQ(first.summary.finished, 40);
  CHECK(first.virtual_ns > trace.back().arrival_ns);
  CHECK_EQ(first.digest.size(), 64);
  CHECK_EQ(simulate(trace, small()).digest, first.digest);
  auto other = small();
  other.policy = "round-robin";
  CHECK_NE(simulate(trace, other).digest, first.digest);
  other = small();
  other.seed = 2;
  CHECK_NE(simulate(trace, other).digest, first.digest);
}

TEST_CASE("simulation: what is impossible is refused by name") {
  auto trace = few_requests();
  auto wanted = small();
  wanted.policy = "none-such";
  CHECK(refusal(wanted, trace).starts_with("simulation: policy: found \"none-such\", allowed perigee, kvcache-centric"));
  wanted = small();
  wanted.route_params = {{"threshold", 0}};
  CHECK(refusal(wanted, trace).starts_with("simulation: threshold of kvcache-centric: found 0, allowed are 1 to"));
  wanted = small();
  wanted.admission = "maybe";
  CHECK(refusal(wanted, trace).starts_with("simulation: admission: found \"maybe\", allowed none, early"));
  wanted = small();
  wanted.decodes = 0;
  CHECK(refusal(wanted, trace).starts_with("simulation: instances: found 2 prefill, 0 decode"));
  wanted = small();
  wanted.speed = 0;
  CHECK(refusal(wanted, trace).starts_with("simulation: speed: found 0"));
  wanted = small();
  wanted.cache_tokens = 1;
  CHECK(refusal(wanted, trace).starts_with("simulation: cache_tokens: found 1, allowed at least 512"));
  CHECK(refusal(small(), {}).starts_with("simulation: trace: found no request"));
  trace.front().input_tokens = 2'000'000;
  CHECK(refusal(small(), trace).starts_with("simulation: trace: found a request of 200"));
}
