// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/replay/noise.hpp"

#include <numeric>

namespace perigee::sim {

namespace {

/// Upper half of 64 equally likely values of the standard normal distribution; the lower half mirrors it.
constexpr double quantiles[] = {
  0.019584, 0.058783, 0.098072, 0.137513, 0.177170, 0.217107, 0.257394, 0.298102, 0.339312, 0.381105, 0.423576,
  0.466825, 0.510966, 0.556126, 0.602449, 0.650104, 0.699283, 0.750215, 0.803173, 0.858484, 0.916557, 0.977898,
  1.043158, 1.113194, 1.189164, 1.272699, 1.366204, 1.473468, 1.601009, 1.761670, 1.987428, 2.417559};

constexpr int series_terms = 40; // enough for |x| < 3 to the last bit

double exponential(double x) {
  auto term = 1.0;
  auto sum = 1.0;
  for (int n = 1; n < series_terms; ++n) {
    term *= x / n;
    sum += term;
  }
  return sum;
}

} // namespace

std::vector<double> log_normal_factors(double sigma) {
  std::vector<double> factors;
  if (sigma == 0)
    return factors;
  for (auto z : quantiles) {
    factors.push_back(exponential(sigma * z));
    factors.push_back(exponential(-sigma * z));
  }
  auto mean = std::accumulate(factors.begin(), factors.end(), 0.0) / static_cast<double>(factors.size());
  for (auto& factor : factors)
    factor /= mean;
  return factors;
}

} // namespace perigee::sim
