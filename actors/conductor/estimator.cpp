// SPDX-License-Identifier: Apache-2.0
#include "actors/conductor/estimator.hpp"

#include <algorithm>
#include <cmath>

namespace perigee {

namespace {

constexpr auto weight_of_new = 0.1;

uint64_t to_ns(double seconds) {
  return static_cast<uint64_t>(seconds * 1e9 + 0.5);
}

} // namespace

void estimator::scale::pull(double seconds, uint64_t measured_ns) {
  if (seconds <= 0 || measured_ns == 0)
    return;
  predicted += seconds - weight_of_new * predicted;
  measured += static_cast<double>(measured_ns) * 1e-9 - weight_of_new * measured;
}

double estimator::prefill_seconds(double n, double p) const {
  return profile_.prefill_constant + profile_.prefill_token * (n - p) + profile_.prefill_square * (n * n - p * p)
         + profile_.prefill_reused * p;
}

double estimator::transfer_seconds(double tokens) const {
  return tokens * profile_.kv_bytes_token / profile_.network_bytes_second;
}

step_cost estimator::step() const {
  return {step_.factor() * profile_.step_constant, step_.factor() * profile_.step_row,
          step_.factor() * profile_.step_context_token};
}

uint64_t estimator::prefill_ns(uint64_t tokens, uint64_t reused) const {
  return to_ns(prefill_.factor() * prefill_seconds(static_cast<double>(tokens), static_cast<double>(reused)));
}

uint64_t estimator::step_ns(uint64_t rows, uint64_t context_tokens) const {
  return step().ns(static_cast<double>(rows), static_cast<double>(context_tokens));
}

uint64_t estimator::stay_ns(uint64_t rows, uint64_t context_tokens) const {
  return static_cast<uint64_t>(output_mean_ * static_cast<double>(step_ns(rows, context_tokens)) + 0.5);
}

uint64_t estimator::transfer_ns(uint64_t tokens) const {
  return to_ns(transfer_.factor() * transfer_seconds(static_cast<double>(tokens)));
}

void estimator::learn(const prefill_sample& sample) {
  auto n = static_cast<double>(sample.tokens);
  auto profiled = prefill_seconds(n, std::min(n, static_cast<double>(sample.reused)));
  auto is_first = prefill_.predicted == 0;
  auto expected = prefill_.factor() * profiled;
  prefill_.pull(profiled, sample.busy_ns);
  if (is_first)
    return; // Nothing was known of this machine yet.
  expected_ += weight_of_new * weight_of_new * (expected - expected_);
  missed_ += weight_of_new * weight_of_new * (std::abs(static_cast<double>(sample.busy_ns) * 1e-9 - expected) - missed_);
}

void estimator::learn(const step_sample& sample) {
  auto profiled = static_cast<double>(sample.batch) * profile_.step_row + profile_.step_constant
                  + static_cast<double>(sample.context_tokens) * profile_.step_context_token;
  step_.pull(profiled, sample.busy_ns);
}

void estimator::learn(const transfer_sample& sample) {
  transfer_.pull(transfer_seconds(static_cast<double>(sample.tokens)), sample.busy_ns);
}

void estimator::learn_output(uint64_t tokens) {
  output_mean_ += weight_of_new * weight_of_new * (static_cast<double>(tokens) - output_mean_);
  // Stochastic approximation of a quantile: at the 90th percentile nine small steps down meet one large step up.
  auto step = std::max<uint64_t>(1, output_quantile_ / 256);
  if (tokens > output_quantile_)
    output_quantile_ += 9 * step;
  else
    output_quantile_ -= std::min(output_quantile_ - 1, step);
}

} // namespace perigee
