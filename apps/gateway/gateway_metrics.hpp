// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/gateway/backend.hpp"
#include "apps/gateway/metrics.hpp"

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace perigee::gateway {

/// What the gateway itself measures. Names and buckets are vLLM's with `perigee:` for `vllm:`, where the meaning is the
/// same.
class gateway_metrics {
public:
  /// Registers all families; each carries the label `model_name`. The registry must outlive this object.
  gateway_metrics(metric_registry& registry, std::string model_name);

  /// One HTTP answer was begun.
  void answered(std::string_view route, uint16_t http_status);
  /// A request ended otherwise than by its backend: `client_gone`, `slow_client`, ... or `error`.
  void ended(std::string_view reason);
  void choice_finished(finish_reason reason);
  void prompt_ended(const completion_summary& summary);

  gauge& connections;        ///< open sockets
  gauge& requests_in_flight; ///< completion requests being answered
  gauge& streams_paused;     ///< streams that wait for a slow reader
  gauge& unread_bytes;       ///< output queued for all clients
  histogram& time_to_first_token;
  histogram&
    inter_token_latency; ///< one observation per token after the first; tokens that come together share the gap
  histogram& time_per_output_token; ///< per request: mean time per token of a choice after the first
  histogram& e2e_latency;           ///< from the whole request's arrival to its last event

private:
  label_list with_model(label_list labels = {}) const;

  metric_registry& registry_;
  std::string model_name_;
  histogram& queue_time_;
  histogram& prefill_time_;
  histogram& prompt_length_;
  histogram& completion_length_;
  counter& prompt_tokens_;
  counter& completion_tokens_;
  counter& cache_queries_;
  counter& cache_hits_;
};

} // namespace perigee::gateway
