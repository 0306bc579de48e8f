// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/scenes/scene.hpp"
#include "tests/support/testing.hpp"

#include <algorithm>
#include <numeric>

using namespace perigee;
using namespace perigee::sim;

namespace {

const std::vector<std::string> survivors{"kvcache-centric", "perigee", "central"};

constexpr uint32_t herd_size = 12;

/// Four gateways have twelve requests within two milliseconds, twice, for eight instances that are idle.
scene_setup herd(uint64_t seed) {
  scene_setup made;
  made.options.cluster.gateways = 4;
  auto pen = traffic_pen{seed};
  for (double at : {1.0, 61.0})
    for (uint32_t i = 0; i < herd_size; ++i)
      pen.add(at + static_cast<double>(pen.random.below(2'000)) / 1e6, {},
              static_cast<uint32_t>(pen.random.between(2'000, 20'000)), 4);
  made.requests = pen.take();
  return made;
}

/// Whoever is idle gets one, and nobody waits longer than where each takes the next as it becomes free (Graham's
/// bound).
std::string herd_complaint(const scene_result& result) {
  auto placed = result.placed();
  auto slowest = 0.0;
  auto bound = 0.0;
  for (size_t first : {size_t{0}, size_t{herd_size}}) {
    auto sum = 0.0;
    auto longest = 0.0;
    for (size_t i = first; i < first + herd_size; ++i) {
      sum += result.cold_s(i);
      longest = std::max(longest, result.cold_s(i));
      slowest = std::max(slowest, result.ttft_s(i));
    }
    auto instances = static_cast<double>(placed.size());
    bound = std::max(bound, sum / instances + longest * (1 - 1 / instances));
  }
  return first_of(
    {at_least(static_cast<double>(std::ranges::min(placed)), 2, "requests at the instance with the fewest"),
     at_most(slowest, bound + 0.05, "slowest first token, s")});
}

/// Requests of one to eight seconds of work for eight instances that are busy for three quarters of the time.
scene_setup steady(uint64_t seed) {
  scene_setup made;
  auto pen = traffic_pen{seed};
  auto at = 0.0;
  for (int i = 0; i < 240; ++i) {
    at += static_cast<double>(pen.random.below(600)) / 1e3;
    pen.add(at, {}, static_cast<uint32_t>(pen.random.between(4'000, 24'000)),
            static_cast<uint32_t>(pen.random.between(2, 200)));
  }
  made.requests = pen.take();
  return made;
}

double mean_slowdown(const scene_result& result) {
  auto sum = 0.0;
  for (size_t i = 0; i < result.setup.requests.size(); ++i)
    sum += result.ttft_s(i) / result.cold_s(i);
  return sum / static_cast<double>(result.setup.requests.size());
}

double least_share(const scene_result& result) {
  auto busy = result.busy_s();
  return std::ranges::min(busy) * static_cast<double>(busy.size()) / std::accumulate(busy.begin(), busy.end(), 0.0);
}

std::string steady_complaint(const scene_result& result) {
  return first_of({at_least(least_share(result), 0.3, "work of the idlest instance over the mean"),
                   at_most(mean_slowdown(result), 1.6, "time to the first token over that of an idle cluster, mean")});
}

scene_setup shared_beginning(uint64_t seed) {
  auto made = steady(seed);
  for (auto& request : made.requests)
    request.blocks.front() = 1'000'000;
  return made;
}

scene_setup stale_reports(uint64_t seed) {
  auto made = steady(seed);
  made.options.cluster.noise.report_age_ns = 500'000'000;
  return made;
}

/// Older than most requests take.
scene_setup ancient_reports(uint64_t seed) {
  auto made = steady(seed);
  made.options.cluster.noise.report_age_ns = 2'000'000'000;
  return made;
}

scene_setup skewed_reports(uint64_t seed) {
  auto made = steady(seed);
  made.options.cluster.noise.report_skew_ns = 2'000'000'000;
  return made;
}

} // namespace

TEST_CASE("scene herd: twelve requests at once from four gateways spread over eight idle instances, and none waits "
          "longer than it must") {
  survive({herd, herd_complaint}, survivors);
  fail({herd, herd_complaint}, {"late-view", "random"});
}

TEST_CASE(
  "scene starvation: where every prompt begins the same, each instance gets its share of the work nevertheless") {
  survive({shared_beginning, steady_complaint}, survivors);
  fail({shared_beginning, steady_complaint}, {"to-the-holder"});
}

TEST_CASE("scene stale load reports: what was reserved counts at once, so that reports half a second old overrun and "
          "forget nobody") {
  survive({stale_reports, steady_complaint}, survivors);
  fail({stale_reports, steady_complaint}, {"late-view"});
}

TEST_CASE(
  "scene stale load reports: policies that predict when an instance is free do without reports for two seconds") {
  survive({ancient_reports, steady_complaint}, {"kvcache-centric", "perigee"});
  fail({ancient_reports, steady_complaint}, {"late-view", "central"});
}

TEST_CASE(
  "scene clock skew between reports: news of one instance up to two seconds older than of another favour neither") {
  survive({skewed_reports, steady_complaint}, {"kvcache-centric", "perigee"});
  fail({skewed_reports, steady_complaint}, {"late-view"});
}
