// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/replay/metrics.hpp"
#include "tests/support/testing.hpp"

using namespace perigee;
using namespace perigee::sim;

namespace {

constexpr uint64_t s = 1'000'000'000;
constexpr uint64_t ms = 1'000'000;

request_record served(uint64_t ttft_ns, uint64_t tbt_ns, uint32_t input_tokens, uint32_t cached_tokens) {
  request_record made;
  made.input_tokens = input_tokens;
  made.output_tokens = 10;
  made.cached_tokens = cached_tokens;
  made.ttft_ns = ttft_ns;
  made.tbt_ns = tbt_ns;
  made.finished = true;
  return made;
}

request_record refused(uint32_t input_tokens) {
  request_record made;
  made.input_tokens = input_tokens;
  made.error = ec::overloaded;
  return made;
}

} // namespace

TEST_CASE("metrics: percentiles are nearest rank") {
  CHECK(percentile({}, 50) == 0);
  std::vector<uint64_t> ten{1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  CHECK(percentile(ten, 1) == 1);
  CHECK(percentile(ten, 10) == 1);
  CHECK(percentile(ten, 11) == 2);
  CHECK(percentile(ten, 50) == 5);
  CHECK(percentile(ten, 90) == 9);
  CHECK(percentile(ten, 99) == 10);
  CHECK(percentile(ten, 100) == 10);
  std::vector<uint64_t> three{7, 8, 9};
  CHECK(percentile(three, 33) == 7);
  CHECK(percentile(three, 34) == 8);
}

TEST_CASE("metrics: TBT is the mean of the longest tenth of the gaps, rounded up") {
  std::vector<uint64_t> none;
  CHECK(mean_of_longest_tenth(none) == 0);
  std::vector<uint64_t> one{30};
  CHECK(mean_of_longest_tenth(one) == 30);
  std::vector<uint64_t> ten{5, 1, 9, 2, 2, 2, 2, 2, 2, 2};
  CHECK(mean_of_longest_tenth(ten) == 9); // the longest of ten
  std::vector<uint64_t> eleven{5, 1, 9, 2, 2, 2, 2, 2, 2, 2, 8};
  CHECK(mean_of_longest_tenth(eleven) == 8); // the longest two, 17 / 2, rounded down
}

TEST_CASE("metrics: a run's summary, by hand") {
  std::vector<request_record> all{
    served(1 * s, 40 * ms, 1000, 500),   // effective
    served(31 * s, 40 * ms, 3000, 0),    // first token too late
    served(2 * s, 101 * ms, 2000, 1024), // gaps too long
    served(30 * s, 100 * ms, 500, 0),    // just in time
    refused(3500),
  };
  auto sum = summarize(all, {});
  CHECK(sum.requests == 5);
  CHECK(sum.finished == 4);
  CHECK(sum.rejected == 1);
  CHECK(sum.not_finished == std::map<ec, uint64_t>{{ec::overloaded, 1}});
  CHECK(sum.ttft_ns.mean == doctest::Approx(16.0 * s));
  CHECK(sum.ttft_ns.p50 == 2 * s);
  CHECK(sum.ttft_ns.p90 == 31 * s);
  CHECK(sum.ttft_ns.max == 31 * s);
  CHECK(sum.ttft_mean_all_ns == doctest::Approx((64.0 + 30.0) / 5 * s));
  CHECK(sum.tbt_ns.p50 == 40 * ms);
  CHECK(sum.tbt_ns.max == 101 * ms);
  CHECK(sum.input_tokens == 10000);
  CHECK(sum.hit_tokens == 1524);
  CHECK(sum.hit_ratio == doctest::Approx(1524.0 / 6500));
  CHECK(sum.effective == doctest::Approx(2.0 / 5));
  CHECK(sum.token_goodput == doctest::Approx(1500.0 / 10000));
}

TEST_CASE("metrics: a request of one token has no gaps and breaks no promise about them") {
  auto only = served(1 * s, 0, 100, 0);
  only.output_tokens = 1;
  auto sum = summarize(std::vector{only}, {});
  CHECK(sum.effective == 1);
  CHECK(sum.tbt_ns.max == 0);
}

TEST_CASE("metrics: of nothing there are zeros") {
  auto sum = summarize({}, {});
  CHECK(sum.requests == 0);
  CHECK(sum.effective == 0);
  CHECK(sum.ttft_ns.p99 == 0);
}
