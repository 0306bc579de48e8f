// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/scenes/scene.hpp"

#include "actors/core/marker.hpp"
#include "actors/policy/registry.hpp"
#include "tests/support/testing.hpp"

#include <algorithm>

namespace perigee::sim {

namespace {

scene_setup made_from(const scene& what, uint64_t seed) {
  auto setup = what.make(seed);
  setup.options.seed = seed;
  return setup;
}

/// In sanitizer builds, and where PERIGEE_TEST_SEEDS asks for it.
bool fewer_wanted() {
  return testing::seeds(3) < 3;
}

} // namespace

double scene_result::ttft_s(size_t number) const {
  auto ns = run.records.at(number).ttft_ns;
  return static_cast<double>(ns > 0 ? ns : setup.options.cluster.slo_ttft_ns) / 1e9;
}

double scene_result::cold_s(size_t number) const {
  return static_cast<double>(
           estimator{setup.options.cluster.profile.costs}.prefill_ns(setup.requests.at(number).input_tokens, 0))
         / 1e9;
}

std::vector<size_t> scene_result::placed() const {
  std::vector<size_t> counts(setup.options.cluster.prefills);
  for (const auto& request : seen.requests)
    if (request.prefill < counts.size())
      ++counts[request.prefill];
  return counts;
}

std::vector<double> scene_result::busy_s() const {
  std::vector<double> seconds(setup.options.cluster.prefills);
  for (const auto& slice : seen.slices)
    if (slice.kind == slice_kind::chunk && slice.instance < seconds.size())
      seconds[slice.instance] += static_cast<double>(slice.end_ns - slice.begin_ns) / 1e9;
  return seconds;
}

scene_result play(scene_setup setup, const std::string& policy) {
  const auto* entry = find_routing_policy(policy);
  REQUIRE(entry != nullptr);
  auto recorder = run_recorder{true};
  auto options = setup.options;
  options.cluster.policy = policy;
  options.recorder = &recorder;
  options.check = true;
  auto markers = marker_counts{};
  auto run = run_replay(setup.requests, options);
  auto seen = recorder.finish(run.records);
  return {std::move(setup), std::move(run), std::move(seen), markers.all()};
}

void survive(const scene& what, const std::vector<std::string>& policies, uint64_t seeds) {
  for (uint64_t seed = 1; seed <= (fewer_wanted() ? 1 : seeds); ++seed)
    for (const auto& policy : policies) {
      INFO("policy " << policy << ", seed " << seed);
      auto result = play(made_from(what, seed), policy);
      CHECK(result.run.problems == std::vector<std::string>{});
      CHECK(what.complaint(result) == "");
    }
}

void fail(const scene& what, const std::vector<std::string>& policies) {
  if (fewer_wanted())
    return;
  for (const auto& policy : policies) {
    INFO("policy " << policy);
    CHECK(what.complaint(play(made_from(what, 1), policy)) != "");
  }
}

std::string at_most(double found, double limit, const std::string& meaning) {
  return found <= limit ? "" : meaning + ": " + std::to_string(found) + ", allowed up to " + std::to_string(limit);
}

std::string at_least(double found, double limit, const std::string& meaning) {
  return found >= limit ? ""
                        : meaning + ": " + std::to_string(found) + ", at least " + std::to_string(limit) + " is needed";
}

std::string first_of(std::initializer_list<std::string> complaints) {
  auto found = std::ranges::find_if(complaints, [](const std::string& it) { return !it.empty(); });
  return found == complaints.end() ? "" : *found;
}

double percentile_of(std::vector<double> values, uint32_t q) {
  if (values.empty())
    return 0;
  std::ranges::sort(values);
  return values[std::max<size_t>((q * values.size() + 99) / 100, 1) - 1];
}

std::vector<uint64_t> traffic_pen::document(uint32_t tokens) {
  std::vector<uint64_t> blocks;
  for (uint64_t i = 0; i < trace_blocks(tokens); ++i)
    blocks.push_back(blocks_++);
  return blocks;
}

void traffic_pen::add(double at_s, const std::vector<uint64_t>& prefix, uint32_t own_tokens, uint32_t output_tokens) {
  trace_request made;
  made.arrival_ns = static_cast<uint64_t>(at_s * 1e9);
  made.input_tokens = static_cast<uint32_t>(prefix.size() * trace_block_tokens) + own_tokens;
  made.output_tokens = output_tokens;
  made.blocks = prefix;
  while (made.blocks.size() < trace_blocks(made.input_tokens))
    made.blocks.push_back(blocks_++);
  requests_.push_back(std::move(made));
}

std::vector<trace_request> traffic_pen::take() {
  std::ranges::stable_sort(requests_, {}, &trace_request::arrival_ns);
  return std::move(requests_);
}

} // namespace perigee::sim
