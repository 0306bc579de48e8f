// SPDX-License-Identifier: Apache-2.0
#include "actors/conductor/estimator.hpp"
#include "tests/support/testing.hpp"

using namespace perigee;

TEST_CASE("estimator: the default profile gives the specified times") {
  auto estimate = estimator{};
  // 0.048 + 1.107e-4 * 6000 + 7.25e-10 * (8000^2 - 2000^2) + 2.94e-6 * 2000
  CHECK_EQ(estimate.prefill_ns(8000, 2000), 761'580'000);
  // 0.0263 + 1e-4 * 10 + 3.43e-8 * 50000
  CHECK_EQ(estimate.step_ns(10, 50'000), 29'015'000);
  CHECK_EQ(estimate.transfer_ns(1'000'000), 3'766'436'782);
}

TEST_CASE("estimator: predictions follow what instances measure") {
  auto estimate = estimator{};
  auto before = estimate.prefill_ns(4000, 0);
  for (auto i = 0; i < 100; ++i) {
    estimate.learn(prefill_sample{1000, 0, estimator{}.prefill_ns(1000, 0) / 50, {}});
    estimate.learn(step_sample{4, 1000, estimator{}.step_ns(4, 1000) * 3});
  }
  CHECK_EQ(static_cast<double>(estimate.prefill_ns(4000, 0)), doctest::Approx(before / 50.0).epsilon(0.01));
  CHECK_EQ(static_cast<double>(estimate.step_ns(8, 0)),
           doctest::Approx(static_cast<double>(estimator{}.step_ns(8, 0)) * 3).epsilon(0.01));
}

TEST_CASE("estimator: the expected output is near the 90th percentile of what was generated") {
  auto estimate = estimator{};
  for (auto i = 0u; i < 20'000; ++i)
    estimate.learn_output(i * 7919 % 1000);
  CHECK(estimate.expected_output() > 800);
  CHECK(estimate.expected_output() < 980);
}
