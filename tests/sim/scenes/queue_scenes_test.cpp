// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/scenes/scene.hpp"
#include "tests/support/testing.hpp"

#include <algorithm>

using namespace perigee;
using namespace perigee::sim;

namespace {

constexpr uint32_t long_tokens = 60'000;

/// First tokens in seconds of the requests with at least so many tokens, or with fewer.
std::vector<double> ttfts(const scene_result& result, bool of_long) {
  auto seconds = std::vector<double>{};
  for (size_t i = 0; i < result.setup.requests.size(); ++i)
    if ((result.setup.requests[i].input_tokens >= long_tokens) == of_long)
      seconds.push_back(result.ttft_s(i));
  return seconds;
}

/// Two prompts of nine seconds come every ten seconds; four instances, so that there is always one for the short ones.
scene_setup short_behind_long(uint64_t seed) {
  scene_setup made;
  made.options.cluster.prefills = 4;
  made.options.cluster.decodes = 2;
  auto pen = traffic_pen{seed};
  for (double at = 1; at < 60; at += 10) {
    pen.add(at, {}, long_tokens, 4);
    pen.add(at + 0.1, {}, long_tokens, 4);
  }
  for (double at = 0; at < 60; at += static_cast<double>(pen.random.below(500)) / 1e3)
    pen.add(at, {}, static_cast<uint32_t>(pen.random.between(500, 2'000)), 4);
  made.requests = pen.take();
  return made;
}

std::string short_behind_long_complaint(const scene_result& result) {
  return first_of({at_most(percentile_of(ttfts(result, false), 99), 2, "first token of short prompts, p99, s"),
                   at_most(percentile_of(ttfts(result, true), 100), 30, "first token of the last long prompt, s")});
}

/// Short prompts are a little more than four instances can compute, for a minute; a long one comes every ten seconds.
scene_setup long_behind_short(uint64_t seed) {
  scene_setup made;
  made.options.cluster.prefills = 4;
  made.options.cluster.decodes = 2;
  auto pen = traffic_pen{seed};
  for (double at = 0; at < 60; at += static_cast<double>(pen.random.below(360)) / 1e3)
    pen.add(at, {}, static_cast<uint32_t>(pen.random.between(3'000, 8'000)), 4);
  for (double at = 5; at < 30; at += 10)
    pen.add(at, {}, long_tokens, 4);
  made.requests = pen.take();
  return made;
}

std::string long_behind_short_complaint(const scene_result& result) {
  return at_most(percentile_of(ttfts(result, true), 100), 30, "first token of the last long prompt, s");
}

constexpr size_t flood_size = 150;

/// One tenant sends forty seconds of work at once; another has a short request every two seconds.
scene_setup flood(uint64_t seed) {
  scene_setup made;
  made.options.cluster.prefills = 4;
  made.options.cluster.decodes = 2;
  auto pen = traffic_pen{seed};
  for (size_t i = 0; i < flood_size; ++i)
    pen.add(1, {}, static_cast<uint32_t>(pen.random.between(6'000, 10'000)), 4);
  for (double at = 2; at < 40; at += 2)
    pen.add(at, {}, 1'000, 4);
  made.requests = pen.take();
  for (const auto& request : made.requests)
    made.options.clients.tenants.push_back(request.input_tokens == 1'000 ? "small" : "flood");
  return made;
}

/// The small tenant waits for what is being computed, and not for what was there before it. The flood itself is served.
std::string flood_complaint(const scene_result& result) {
  auto small = std::vector<double>{};
  auto served = 0.0;
  for (size_t i = 0; i < result.setup.requests.size(); ++i) {
    if (result.setup.requests[i].input_tokens == 1'000)
      small.push_back(result.ttft_s(i));
    served += result.run.records[i].finished;
  }
  return first_of({at_most(percentile_of(small, 100), 2, "slowest first token of the small tenant, s"),
                   at_least(served, static_cast<double>(result.setup.requests.size()), "requests served")});
}

} // namespace

TEST_CASE("scene short prompts behind long ones: they find an instance that has no long one before them") {
  survive({short_behind_long, short_behind_long_complaint}, {"kvcache-centric", "perigee", "central"});
  fail({short_behind_long, short_behind_long_complaint}, {"round-robin", "random"});
}

TEST_CASE("scene long prompts behind short ones: shortest first does not starve them, their promise is kept") {
  survive({long_behind_short, long_behind_short_complaint}, {"kvcache-centric", "perigee", "central"});
  fail({long_behind_short, long_behind_short_complaint}, {"shortest"});
}

TEST_CASE("scene tenant flood: whoever sends little does not wait for who sends much") {
  survive({flood, flood_complaint}, {"fair"});
  fail({flood, flood_complaint}, {"kvcache-centric", "least-seconds"});
}
