// SPDX-License-Identifier: Apache-2.0
#include "apps/gateway/gateway_metrics.hpp"

#include <array>

namespace perigee::gateway {

namespace {

constexpr auto first_token_bounds = std::array{.001, .005, .01, .02, .04, .06, .08, .1,  .25,  .5,   .75,
                                               1.,   2.5,  5.,  7.5, 10., 20., 40., 80., 160., 640., 2560.};
constexpr auto token_bounds =
  std::array{.01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1., 2.5, 5., 7.5, 10., 20., 40., 80.};
constexpr auto request_bounds =
  std::array{.3, .5, .8, 1., 1.5, 2., 2.5, 5., 10., 15., 20., 30., 40., 50., 60., 120., 240., 480., 960., 1920., 7680.};
constexpr auto length_bounds =
  std::array{1., 2., 5., 10., 20., 50., 100., 200., 500., 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5};

double seconds(std::chrono::nanoseconds time) {
  return std::chrono::duration<double>(time).count();
}

} // namespace

gateway_metrics::gateway_metrics(metric_registry& registry, std::string model_name)
  : connections(registry.make_gauge("perigee:http_connections", "Open client connections.")),
    requests_in_flight(registry.make_gauge("perigee:http_requests_in_flight", "Completion requests being answered.")),
    streams_paused(registry.make_gauge("perigee:http_streams_paused", "Streams that wait for a slow reader.")),
    unread_bytes(registry.make_gauge("perigee:http_unread_bytes", "Output queued for clients that have not read it.")),
    time_to_first_token(registry.make_histogram("perigee:time_to_first_token_seconds",
                                                "Time from a request's arrival to its first token.", first_token_bounds,
                                                {{"model_name", model_name}})),
    inter_token_latency(registry.make_histogram("perigee:inter_token_latency_seconds",
                                                "Each gap between two tokens of a choice.", token_bounds,
                                                {{"model_name", model_name}})),
    time_per_output_token(registry.make_histogram("perigee:request_time_per_output_token_seconds",
                                                  "A request's mean time per token after the first.", token_bounds,
                                                  {{"model_name", model_name}})),
    e2e_latency(registry.make_histogram("perigee:e2e_request_latency_seconds",
                                        "Time from a request's arrival to its last token.", request_bounds,
                                        {{"model_name", model_name}})),
    registry_(registry), model_name_(std::move(model_name)),
    queue_time_(registry.make_histogram("perigee:request_queue_time_seconds",
                                        "Time from submission until a prefill instance began.", request_bounds,
                                        with_model())),
    prefill_time_(registry.make_histogram("perigee:request_prefill_time_seconds", "Time a prompt spent in prefill.",
                                          request_bounds, with_model())),
    prompt_length_(registry.make_histogram("perigee:request_prompt_tokens", "Prompt tokens of each prompt.",
                                           length_bounds, with_model())),
    completion_length_(registry.make_histogram("perigee:request_generation_tokens",
                                               "Generated tokens of each prompt, all choices together.", length_bounds,
                                               with_model())),
    prompt_tokens_(
      registry.make_counter("perigee:prompt_tokens_total", "Prompt tokens of finished prompts.", with_model())),
    completion_tokens_(
      registry.make_counter("perigee:generation_tokens_total", "Generated tokens of finished prompts.", with_model())),
    cache_queries_(registry.make_counter("perigee:prefix_cache_queries_total",
                                         "Prompt tokens looked up in the prefix cache.", with_model())),
    cache_hits_(
      registry.make_counter("perigee:prefix_cache_hits_total", "Prompt tokens whose KV was reused.", with_model())) {
  // families that dashboards divide by exist from the start
  for (auto reason : {"stop", "length"})
    registry.make_counter("perigee:request_success_total", "Choices that ended, by why.",
                          with_model({{"finished_reason", reason}}));
}

label_list gateway_metrics::with_model(label_list labels) const {
  labels.insert(labels.begin(), {"model_name", model_name_});
  return labels;
}

void gateway_metrics::answered(std::string_view route, uint16_t http_status) {
  registry_
    .make_counter("perigee:http_requests_total", "HTTP answers begun, by route and status.",
                  {{"handler", std::string{route}}, {"status", std::to_string(http_status)}})
    .add();
}

void gateway_metrics::ended(std::string_view reason) {
  registry_
    .make_counter("perigee:http_requests_ended_early_total", "Completion requests that did not finish, by why.",
                  with_model({{"reason", std::string{reason}}}))
    .add();
}

void gateway_metrics::choice_finished(finish_reason reason) {
  registry_
    .make_counter("perigee:request_success_total", "Choices that ended, by why.",
                  with_model({{"finished_reason", reason == finish_reason::stop ? "stop" : "length"}}))
    .add();
}

void gateway_metrics::prompt_ended(const completion_summary& summary) {
  prompt_length_.observe(summary.prompt_tokens);
  completion_length_.observe(summary.completion_tokens);
  prompt_tokens_.add(summary.prompt_tokens);
  completion_tokens_.add(summary.completion_tokens);
  cache_queries_.add(summary.prompt_tokens);
  cache_hits_.add(summary.cached_tokens);
  if (summary.queued)
    queue_time_.observe(seconds(*summary.queued));
  if (summary.prefilled)
    prefill_time_.observe(seconds(*summary.prefilled));
}

} // namespace perigee::gateway
