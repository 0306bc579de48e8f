// SPDX-License-Identifier: Apache-2.0
#include "actors/conductor/estimator.hpp"

#include <algorithm>

namespace perigee {

namespace {

constexpr auto weight_of_new = 0.1;

uint64_t to_ns(double seconds) {
  return static_cast<uint64_t>(seconds * 1e9 + 0.5);
}

/// Moves `factor` towards measured / predicted. The first measurement counts in full: a profile of another machine may be
/// off by orders of magnitude.
void pull(double& factor, double predicted, uint64_t measured_ns) {
  if (predicted <= 0 || measured_ns == 0)
    return;
  auto ratio = static_cast<double>(measured_ns) * 1e-9 / predicted;
  factor = factor == 1 ? ratio : factor + weight_of_new * (ratio - factor);
}

} // namespace

double estimator::prefill_seconds(double n, double p) const {
  return profile_.prefill_constant + profile_.prefill_token * (n - p) + profile_.prefill_square * (n * n - p * p)
         + profile_.prefill_reused * p;
}

double estimator::step_seconds(double rows, double context_tokens) const {
  return profile_.step_constant + profile_.step_row * rows + profile_.step_context_token * context_tokens;
}

uint64_t estimator::prefill_ns(uint64_t tokens, uint64_t reused) const {
  return to_ns(prefill_factor_ * prefill_seconds(static_cast<double>(tokens), static_cast<double>(reused)));
}

uint64_t estimator::step_ns(uint64_t rows, uint64_t context_tokens) const {
  return to_ns(step_factor_ * step_seconds(static_cast<double>(rows), static_cast<double>(context_tokens)));
}

uint64_t estimator::transfer_ns(uint64_t tokens) const {
  return to_ns(static_cast<double>(tokens) * profile_.kv_bytes_token / profile_.network_bytes_second);
}

void estimator::learn(const prefill_sample& sample) {
  auto n = static_cast<double>(sample.tokens);
  pull(prefill_factor_, prefill_seconds(n, std::min(n, static_cast<double>(sample.reused))), sample.busy_ns);
}

void estimator::learn(const step_sample& sample) {
  pull(step_factor_, step_seconds(sample.batch, static_cast<double>(sample.context_tokens)), sample.busy_ns);
}

void estimator::learn_output(uint64_t tokens) {
  // Stochastic approximation of a quantile: at the 90th percentile nine small steps down meet one large step up.
  auto step = std::max<uint64_t>(1, output_quantile_ / 256);
  if (tokens > output_quantile_)
    output_quantile_ += 9 * step;
  else
    output_quantile_ -= std::min(output_quantile_ - 1, step);
}

} // namespace perigee
