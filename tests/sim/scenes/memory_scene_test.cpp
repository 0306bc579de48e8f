// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/scenes/scene.hpp"
#include "tests/support/testing.hpp"

#include <algorithm>

using namespace perigee;
using namespace perigee::sim;

namespace {

constexpr size_t short_answers = 80;
constexpr size_t long_answers = 50;

/// Eighty requests are answered in a few words; then come fifty whose answers are long, which fill the memory of both
/// decode instances as if they were short. Nobody knows lengths beforehand.
scene_setup cliff(uint64_t seed) {
  scene_setup made;
  made.options.cluster.prefills = 4;
  made.options.cluster.decodes = 2;
  made.options.cluster.profile.decode_tokens = 40'960;
  made.options.cluster.slo_ttft_ns = 300'000'000'000; // Nobody is to be refused.
  made.options.clients.lengths_known = false;
  auto pen = traffic_pen{seed};
  auto at = 0.0;
  for (size_t i = 0; i < short_answers + long_answers; ++i) {
    at += static_cast<double>(pen.random.below(300)) / 1e3;
    auto output = i < short_answers ? pen.random.between(10, 30) : pen.random.between(1'000, 2'000);
    pen.add(at, {}, static_cast<uint32_t>(pen.random.between(1'000, 3'000)), static_cast<uint32_t>(output));
  }
  made.requests = pen.take();
  return made;
}

/// Everybody gets the whole answer. The cliff is there: some have to leave. But few, and those who stay get on: with
/// all the memory in use the answers take no more than twice as long as the device needs for them.
std::string cliff_complaint(const scene_result& result) {
  auto finished = 0.0;
  auto tokens = 0.0;
  auto context = 0.0;
  for (size_t i = 0; i < result.setup.requests.size(); ++i) {
    const auto& asked = result.setup.requests[i];
    finished += result.run.records[i].finished && result.run.records[i].output_tokens == asked.output_tokens;
    tokens += asked.output_tokens;
    context += asked.input_tokens + 0.5 * asked.output_tokens;
  }
  const auto& cluster = result.setup.options.cluster;
  auto count = static_cast<double>(result.setup.requests.size());
  auto rows = static_cast<double>(cluster.profile.decode_tokens) / (context / count);
  auto step_ns = estimator{cluster.profile.costs}.step_ns(static_cast<uint64_t>(rows), cluster.profile.decode_tokens);
  auto ideal_s = tokens / rows / cluster.decodes * static_cast<double>(step_ns) / 1e9;
  auto marked = result.markers.find("decode: preempted");
  auto preempted = marked == result.markers.end() ? 0.0 : static_cast<double>(marked->second);
  return first_of({at_least(finished, count, "whole answers"), at_least(preempted, 1, "preemptions"),
                   at_most(preempted, count / 4, "preemptions"),
                   at_most(static_cast<double>(result.run.virtual_ns) / 1e9,
                           static_cast<double>(result.setup.requests.back().arrival_ns) / 1e9 + 2.2 * ideal_s,
                           "seconds until the end")});
}

} // namespace

TEST_CASE("scene decode memory cliff: answers that become long all at once push out a few requests, and all get on") {
  survive({cliff, cliff_complaint}, {"kvcache-centric", "perigee", "central"}, 1);
}
