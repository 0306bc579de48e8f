// SPDX-License-Identifier: Apache-2.0
#include "kernels/bench.hpp"
#include "kernels/model/synthetic.hpp"
#include "tests/kernels/support.hpp"
#include "transport/base/status.hpp"

using namespace perigee;
using namespace perigee::kernels;

TEST_CASE("bench: the profile fitted to figures that follow the cost model has its coefficients") {
  auto result = bench_result{};
  result.kv_token_bytes = 32'768;
  auto seconds = [](double n, double p) { return 0.01 + 2e-4 * (n - p) + 3e-8 * (n * n - p * p) + 1e-6 * p; };
  for (auto [tokens, reused] :
       {std::pair{128u, 0u}, {512u, 0u}, {512u, 448u}, {2048u, 0u}, {2048u, 1984u}, {8192u, 0u}})
    result.prefill.push_back({tokens, reused, (tokens - reused) / seconds(tokens, reused), 0, 0});
  for (auto batch : {1u, 4u, 16u})
    for (auto context : {128u, 2048u}) {
      auto step = 0.02 + 1e-3 * batch + 5e-8 * batch * context;
      result.decode.push_back({batch, context, batch / step, 0, 0, 0, 0});
    }
  auto profile = fit_profile(result);
  CHECK_EQ(profile.prefill_constant, doctest::Approx(0.01).epsilon(1e-3));
  CHECK_EQ(profile.prefill_token, doctest::Approx(2e-4).epsilon(1e-3));
  CHECK_EQ(profile.prefill_square, doctest::Approx(3e-8).epsilon(1e-3));
  CHECK_EQ(profile.prefill_reused, doctest::Approx(1e-6).epsilon(1e-2));
  CHECK_EQ(profile.step_constant, doctest::Approx(0.02).epsilon(1e-3));
  CHECK_EQ(profile.step_row, doctest::Approx(1e-3).epsilon(1e-3));
  CHECK_EQ(profile.step_context_token, doctest::Approx(5e-8).epsilon(1e-2));
  CHECK_EQ(profile.kv_bytes_token, 32'768);
}

TEST_CASE("bench: what the figures do not tell apart is 0, and no coefficient is below 0") {
  auto result = bench_result{};
  result.prefill.push_back({512, 0, 1000, 0, 0});
  // Faster the more there is to do: a slope that no cost model may have.
  result.decode.push_back({1, 128, 100, 0, 0, 0, 0});
  result.decode.push_back({4, 128, 800, 0, 0, 0, 0});
  auto profile = fit_profile(result);
  CHECK_EQ(profile.prefill_constant, doctest::Approx(0.512));
  CHECK_EQ(profile.prefill_token, 0);
  CHECK_EQ(profile.prefill_square, 0);
  CHECK_GT(profile.step_constant, 0);
  CHECK_EQ(profile.step_row, 0);
  CHECK_EQ(profile.step_context_token, 0);
}

TEST_CASE("bench: a shape with random weights computes numbers, and an unknown one is refused by name") {
  auto weights = random_model("15m");
  auto token = token_id{65};
  auto logits = test::sequence_engine{weights, {2, false, false}, 4}.run({&token, 1}, 0);
  CHECK_EQ(logits.size(), 32'000);
  CHECK(std::ranges::all_of(logits, [](float x) { return std::isfinite(x); }));
  CHECK_GT(*std::ranges::max_element(logits), 0.01f);
  CHECK_THROWS_AS(random_model("16m"), failure);
}
