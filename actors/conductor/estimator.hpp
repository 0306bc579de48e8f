// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/membership.hpp"
#include "actors/policy/admission.hpp"

#include <cstdint>

namespace perigee {

/// Coefficients of the cost model, in seconds per unit; the default is `a800x8-llama3-70b`, which fits Figures 8, 12 and 14
/// of the Mooncake paper. All predictions start from them and are scaled by what instances report.
struct cost_profile {
  double prefill_constant = 0.048;
  double prefill_token = 1.107e-4;
  double prefill_square = 7.25e-10;
  double prefill_reused = 2.94e-6;
  double step_constant = 0.0263;
  double step_row = 1e-4;
  double step_context_token = 3.43e-8;
  double kv_bytes_token = 327'680;
  double network_bytes_second = 87e9;
};

/// Predicts how long things take; starts from the profile and learns one factor per phase from measured times. Pure; only
/// + - * / on doubles, rounded once to nanoseconds.
class estimator {
public:
  estimator() = default;
  explicit estimator(const cost_profile& profile) : profile_(profile) {}

  /// Prefill of a prompt of `tokens` with `reused` of them cached.
  uint64_t prefill_ns(uint64_t tokens, uint64_t reused) const;
  /// By which share, either way, prefills took another time than was predicted lately.
  double prefill_error() const {
    return expected_ > 0 ? missed_ / expected_ : 0;
  }
  /// One decode step of `rows` sequences that hold `context_tokens` in all.
  uint64_t step_ns(uint64_t rows, uint64_t context_tokens) const;
  /// Moving the KV of `tokens` tokens between nodes.
  uint64_t transfer_ns(uint64_t tokens) const;
  /// Output tokens to reserve for: about the 90th percentile of what requests generated.
  uint64_t expected_output() const {
    return output_quantile_;
  }
  /// The same as `step_ns`, for those who vary the load.
  step_cost step() const;
  /// How long a request decodes: the mean number of output tokens, each taking a step of that load.
  uint64_t stay_ns(uint64_t rows, uint64_t context_tokens) const;

  void learn(const prefill_sample& sample);
  void learn(const step_sample& sample);
  void learn(const transfer_sample& sample);
  void learn_output(uint64_t tokens);

private:
  /// Measured over predicted time of what was done lately. The first measurement counts in full, because a profile of
  /// another machine may be off by orders of magnitude; short work counts for little, as its time says little.
  struct scale {
    double predicted = 0;
    double measured = 0;

    double factor() const {
      return predicted > 0 ? measured / predicted : 1;
    }
    void pull(double seconds, uint64_t measured_ns);
  };

  double prefill_seconds(double tokens, double reused) const;
  double transfer_seconds(double tokens) const;

  cost_profile profile_;
  scale prefill_;
  double expected_ = 0; ///< seconds of lately, decaying
  double missed_ = 0;
  scale step_;
  scale transfer_;
  double output_mean_ = 128;
  uint64_t output_quantile_ = 256;
};

} // namespace perigee
