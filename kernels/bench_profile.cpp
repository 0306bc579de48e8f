// SPDX-License-Identifier: Apache-2.0
#include "kernels/bench.hpp"

#include <array>
#include <cmath>
#include <span>

namespace perigee::kernels {

namespace {

constexpr auto terms_max = size_t{4};

/// One measurement: seconds ≈ Σ coefficient × factor.
struct equation {
  std::array<double, terms_max> factors = {};
  double seconds = 0;
};

/// Least squares of the relative errors, by the normal equations. A coefficient that comes out negative is set to 0 and
/// the others are fitted again; where the measurements do not tell coefficients apart, the later one is 0.
std::array<double, terms_max> fit(std::span<const equation> equations) {
  auto used = std::array<bool, terms_max>{true, true, true, true};
  for (;;) {
    double sums[terms_max][terms_max + 1] = {};
    for (const auto& one : equations)
      for (auto i = size_t{0}; i < terms_max; ++i) {
        auto weighted = used[i] ? one.factors[i] / (one.seconds * one.seconds) : 0;
        for (auto j = size_t{0}; j < terms_max; ++j)
          sums[i][j] += used[j] ? weighted * one.factors[j] : 0;
        sums[i][terms_max] += weighted * one.seconds;
      }
    auto result = std::array<double, terms_max>{};
    auto pivots = std::array<bool, terms_max>{};
    for (auto i = size_t{0}; i < terms_max; ++i) {
      auto largest = 0.0;
      for (const auto& one : equations)
        largest += used[i] ? one.factors[i] * one.factors[i] / (one.seconds * one.seconds) : 0;
      pivots[i] = largest > 0 && sums[i][i] > 1e-9 * largest;
      if (!pivots[i])
        continue;
      for (auto row = size_t{0}; row < terms_max; ++row) {
        if (row == i)
          continue;
        auto factor = sums[row][i] / sums[i][i];
        for (auto column = i; column <= terms_max; ++column)
          sums[row][column] -= factor * sums[i][column];
      }
    }
    auto worst = terms_max;
    for (auto i = size_t{0}; i < terms_max; ++i) {
      result[i] = pivots[i] ? sums[i][terms_max] / sums[i][i] : 0;
      if (result[i] < 0)
        worst = i;
    }
    if (worst == terms_max)
      return result;
    used[worst] = false;
  }
}

} // namespace

bench_profile fit_profile(const bench_result& result) {
  auto prefill = std::vector<equation>{};
  for (const auto& one : result.prefill) {
    auto n = static_cast<double>(one.tokens);
    auto p = static_cast<double>(one.reused);
    prefill.push_back({{1, n - p, n * n - p * p, p}, (n - p) / one.tokens_per_second});
  }
  auto decode = std::vector<equation>{};
  for (const auto& one : result.decode)
    decode.push_back({{1, static_cast<double>(one.batch), static_cast<double>(one.batch) * one.context, 0},
                      one.batch / one.tokens_per_second});
  auto a = fit(prefill);
  auto b = fit(decode);
  return {a[0], a[1], a[2], a[3], b[0], b[1], b[2], static_cast<double>(result.kv_token_bytes)};
}

} // namespace perigee::kernels
