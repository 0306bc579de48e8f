// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/report/run_series.hpp"

#include "tests/sim/report/made_up_run.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace perigee::sim;

namespace {

constexpr uint64_t second_ns = 1'000'000'000;

/// One prefill and one decode instance, ten seconds.
run_record small_run() {
  auto run = run_record{};
  run.instances = {{"prefill-0", instance_role::prefill}, {"decode-0", instance_role::decode}};
  auto served = run_request{};
  served.placed_ns = 1 * second_ns;
  served.prefill_begin_ns = 2 * second_ns;
  served.prefill_end_ns = 4 * second_ns;
  served.joined_ns = 5 * second_ns;
  served.first_token_ns = 4 * second_ns;
  served.end_ns = 10 * second_ns;
  served.ttft_ns = 4 * second_ns;
  served.prefill = 0;
  served.decode = 1;
  served.input_tokens = 100;
  served.reused_tokens = 25;
  auto refused = run_request{};
  refused.id = 1;
  refused.arrival_ns = 6 * second_ns;
  refused.end_ns = 6 * second_ns;
  refused.input_tokens = 1000;
  refused.rejected = "too late";
  run.requests = {served, refused};
  return run;
}

} // namespace

TEST_CASE("run_series: the grid ends with the last request") {
  auto run = small_run();
  auto grid = grid_of({&run, 1}, 10);
  CHECK(grid.end_ns == 10 * second_ns);
  CHECK(grid.part_s() == 1.0);
  CHECK(grid.part_of(0) == 0);
  CHECK(grid.part_of(10 * second_ns) == 9);
  CHECK(grid.part_of(never_ns) == 9);
  CHECK(grid_of({}, 10).end_ns == second_ns);
}

TEST_CASE("run_series: presence counts shares of a part") {
  auto run = small_run();
  auto grid = time_grid{10 * second_ns, 4}; // of 2.5 s
  auto at_prefill = mean_present_at(run, 0, instance_role::prefill, grid);
  CHECK(at_prefill[0] == doctest::Approx(0.6));
  CHECK(at_prefill[1] == doctest::Approx(0.6));
  CHECK(at_prefill[2] == 0);
  auto at_decode = mean_present_at(run, 1, instance_role::decode, grid);
  CHECK(at_decode == std::vector<double>{0, 0, 1, 1});
  auto waiting = mean_present(run.requests, &run_request::arrival_ns, &run_request::prefill_begin_ns, grid);
  CHECK(waiting[0] == doctest::Approx(0.8));
  CHECK(waiting[2] == 0); // the refused one waits no time
}

TEST_CASE("run_series: busy shares are of the whole run, overlaps count once") {
  auto run = small_run();
  CHECK(busy_share(run, 0, instance_role::prefill) == doctest::Approx(0.2));
  CHECK_FALSE(took_part(run, 0, instance_role::decode));
  run.requests.front().decode = 0; // A device that has done both.
  CHECK(took_part(run, 0, instance_role::decode));
  run.requests.front().decode = 1;
  CHECK(busy_share(run, 1, instance_role::decode) == doctest::Approx(0.5));
  run.requests.push_back(run.requests.front());
  CHECK(busy_share(run, 1, instance_role::decode) == doctest::Approx(0.5));
  run.requests.clear();
  CHECK(busy_share(run, 0, instance_role::prefill) == 0);
}

TEST_CASE("run_series: the hit ratio leaves out what got no answer, rejects count by their arrival") {
  auto run = small_run();
  auto grid = time_grid{10 * second_ns, 2};
  CHECK(hit_ratio_curve(run.requests, grid) == curve{{2.5, 0.25}});
  CHECK(reject_curve(run.requests, grid) == curve{{2.5, 0.0}, {7.5, 12.0}});
}

TEST_CASE("run_series: a distribution is of all requests, so rejects keep it below 1") {
  auto run = small_run();
  CHECK(distribution_curve(run.requests, &run_request::ttft_ns, 100) == curve{{4.0, 0.5}});
  CHECK(distribution_curve(run.requests, &run_request::tbt_ns, 100).empty());
  CHECK(distribution_curve({}, &run_request::ttft_ns, 100).empty());
}

TEST_CASE("run_series: a long distribution keeps its ends and its tail in few points") {
  auto requests = std::vector<run_request>(10'000);
  for (size_t i = 0; i < requests.size(); ++i)
    requests[i].ttft_ns = (requests.size() - i) * 1'000'000;
  auto points = distribution_curve(requests, &run_request::ttft_ns, 200);
  CHECK(points.size() <= 200);
  CHECK(points.front() == std::pair{0.001, 0.0001});
  CHECK(points.back() == std::pair{10.0, 1.0});
  CHECK(std::ranges::is_sorted(points));
  auto above_p99 = std::ranges::count_if(points, [](auto point) { return point.second > 0.99; });
  CHECK(above_p99 >= 15);
  for (auto [x, y] : points)
    CHECK(x == doctest::Approx(10 * y));
}

TEST_CASE("run_series: instances' loads add up to the cluster's") {
  auto run = made_up_run({.requests = 400});
  auto grid = grid_of({&run, 1}, 50);
  auto sum = std::vector<double>(50);
  for (uint32_t i = 0; i < run.instances.size(); ++i)
    if (run.instances[i].role == instance_role::decode) {
      auto part = mean_present_at(run, i, run.instances[i].role, grid);
      std::ranges::transform(sum, part, sum.begin(), std::plus{});
    }
  auto all = mean_present(run.requests, &run_request::joined_ns, &run_request::end_ns, grid);
  CHECK(*std::ranges::max_element(all) > 1);
  for (size_t part = 0; part < 50; ++part)
    CHECK(sum[part] == doctest::Approx(all[part]));
}
