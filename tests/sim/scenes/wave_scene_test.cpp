// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/report/run_series.hpp"
#include "tests/sim/scenes/scene.hpp"
#include "tests/support/testing.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

using namespace perigee;
using namespace perigee::sim;

namespace {

constexpr size_t minutes = 4;
constexpr double low_rate = 3; // requests a second; the high one is twice that

/// The load doubles after one minute, falls to a half after the next, and so on; five prefill and three decode
/// instances.
scene_setup waves(uint64_t seed) {
  scene_setup made;
  made.options.cluster.prefills = 5;
  made.options.cluster.decodes = 3;
  made.options.cluster.admit = *find_admission("early");
  auto pen = traffic_pen{seed};
  for (double at = 0; at < 60.0 * minutes;) {
    auto rate = low_rate * (static_cast<size_t>(at / 60) % 2 == 1 ? 2 : 1);
    at += static_cast<double>(pen.random.below(2'000)) / 1e3 / rate;
    pen.add(at, {}, static_cast<uint32_t>(pen.random.between(2'000, 14'000)),
            static_cast<uint32_t>(pen.random.between(200, 1'000)));
  }
  made.requests = pen.take();
  return made;
}

/// The same where each of the eight devices may do either.
scene_setup waves_over_roles(uint64_t seed) {
  auto made = waves(seed);
  made.options.cluster.changes_roles = true;
  return made;
}

/// Steps may take hardly anything while no prompt waits, and whatever they like as soon as some do.
scene_setup waves_that_swing(uint64_t seed) {
  auto made = waves_over_roles(seed);
  made.options.cluster.route_params = {{"idle-share", 0.28}, {"pressed-share", 3}};
  return made;
}

double correlation(const std::vector<double>& a, const std::vector<double>& b) {
  auto mean = [](const std::vector<double>& values) {
    return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
  };
  auto covariance = [&](const std::vector<double>& x, const std::vector<double>& y) {
    return std::inner_product(x.begin(), x.end(), y.begin(), 0.0) - mean(x) * mean(y) * static_cast<double>(x.size());
  };
  return covariance(a, b) / std::sqrt(covariance(a, a) * covariance(b, b));
}

/// Of what is in prefill and what decodes, second by second: below 0 one is full while the other is empty.
double phase(const scene_result& result) {
  auto grid = time_grid{60'000'000'000 * minutes, 60 * minutes};
  return correlation(mean_present(result.seen.requests, &run_request::arrival_ns, &run_request::prefill_end_ns, grid),
                     mean_present(result.seen.requests, &run_request::joined_ns, &run_request::end_ns, grid));
}

/// How often a device did one kind of work after the other.
size_t turns(const scene_result& result) {
  std::map<uint32_t, std::vector<std::pair<uint64_t, slice_kind>>> work;
  for (const auto& slice : result.seen.slices)
    if (slice.kind == slice_kind::chunk || slice.kind == slice_kind::steps)
      work[slice.instance].emplace_back(slice.begin_ns, slice.kind);
  size_t count = 0;
  for (auto& [device, slices] : work) {
    std::ranges::sort(slices);
    for (size_t i = 1; i < slices.size(); ++i)
      count += slices[i].second != slices[i - 1].second;
  }
  return count;
}

std::string wave_complaint(const scene_result& result) {
  auto sum = summarize(result.run.records, {});
  return first_of({at_least(sum.effective, 0.98, "effective share"),
                   at_least(phase(result), 0, "correlation of what is in prefill with what decodes")});
}

std::string roles_complaint(const scene_result& result) {
  return first_of({wave_complaint(result),
                   at_most(static_cast<double>(turns(result)), 3.0 * minutes, "times that a device changed its work"),
                   at_most(summarize(result.run.records, {}).ttft_ns.mean / 1e9, 3, "mean of the first token, s")});
}

} // namespace

TEST_CASE(
  "scene load that doubles and halves every minute: prefill and decode rise and fall together, and promises are kept") {
  survive({waves, wave_complaint}, {"kvcache-centric", "perigee", "central"}, 1);
  fail({waves, wave_complaint}, {"to-the-holder"});
}

TEST_CASE("scene load that doubles and halves every minute: devices that change their roles follow it and do not swing "
          "to and fro") {
  survive({waves_over_roles, roles_complaint}, {"perigee"}, 1);
  fail({waves_that_swing, roles_complaint}, {"perigee"});
  fail({waves, roles_complaint}, {"kvcache-centric"});
}
