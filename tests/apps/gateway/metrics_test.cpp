// SPDX-License-Identifier: Apache-2.0
#include "apps/gateway/metrics.hpp"

#include "apps/gateway/gateway_metrics.hpp"
#include "tests/support/testing.hpp"
#include "transport/base/status.hpp"

#include <array>
#include <limits>
#include <thread>

namespace perigee::gateway {

TEST_CASE("metrics: families are rendered by name with help, type and escaped labels") {
  auto registry = metric_registry{};
  registry.make_gauge("b", "Second.").set(1.5);
  registry.make_counter("a_total", "First\nwith \\ in it.", {{"path", "say \"hi\"\n"}}).add(3);
  CHECK(registry.render()
        == "# HELP a_total First\\nwith \\\\ in it.\n# TYPE a_total counter\na_total{path=\"say \\\"hi\\\"\\n\"} 3\n"
           "# HELP b Second.\n# TYPE b gauge\nb 1.5\n");
}

TEST_CASE("metrics: the same name and labels give the same metric, other labels another") {
  auto registry = metric_registry{};
  registry.make_counter("c", "", {{"x", "1"}}).add();
  registry.make_counter("c", "", {{"x", "1"}}).add();
  registry.make_counter("c", "", {{"x", "2"}}).add(5);
  CHECK(registry.make_counter("c", "", {{"x", "1"}}).value() == 2);
  CHECK(registry.make_counter("c", "", {{"x", "2"}}).value() == 5);
  CHECK_THROWS_AS(registry.make_gauge("c", ""), failure);
}

TEST_CASE("metrics: histogram buckets are cumulative, bounds inclusive, the last one without bound") {
  auto registry = metric_registry{};
  auto bounds = std::array{.5, 1., 2.};
  auto& values = registry.make_histogram("h", "Help.", bounds, {{"m", "x"}});
  for (auto value : {.5, .75, 1., 3.})
    values.observe(value);
  CHECK(registry.render()
        == "# HELP h Help.\n# TYPE h histogram\nh_bucket{m=\"x\",le=\"0.5\"} 1\nh_bucket{m=\"x\",le=\"1\"} 3\n"
           "h_bucket{m=\"x\",le=\"2\"} 3\nh_bucket{m=\"x\",le=\"+Inf\"} 4\nh_sum{m=\"x\"} 5.25\nh_count{m=\"x\"} 4\n");
}

TEST_CASE("metrics: values kept elsewhere join the family of their name") {
  auto registry = metric_registry{};
  registry.make_gauge("g", "Ours.", {{"of", "us"}}).set(1);
  auto extra =
    std::vector<metric_family>{{"g", "Theirs.", metric_type::gauge, {{{{"of", "them"}}, 2}}},
                               {"z", "Alone.", metric_type::counter, {{{}, std::numeric_limits<double>::infinity()}}}};
  CHECK(
    registry.render(extra)
    == "# HELP g Ours.\n# TYPE g gauge\ng{of=\"us\"} 1\ng{of=\"them\"} 2\n# HELP z Alone.\n# TYPE z counter\nz +Inf\n");
}

TEST_CASE("metrics: nothing is lost when several threads count") {
  auto registry = metric_registry{};
  auto bounds = std::array{1.};
  auto threads = std::vector<std::thread>{};
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int k = 0; k < 1000; ++k) {
        registry.make_counter("c", "").add();
        registry.make_histogram("h", "", bounds).observe(1);
      }
    });
  for (auto& thread : threads)
    thread.join();
  CHECK(registry.make_counter("c", "").value() == 4000);
  CHECK(registry.make_histogram("h", "", bounds).count(0) == 4000);
  CHECK(registry.make_histogram("h", "", bounds).sum() == 4000);
}

TEST_CASE("gateway_metrics: a finished prompt counts tokens, cache hits and times under vLLM's names") {
  auto registry = metric_registry{};
  auto metrics = gateway_metrics{registry, "m"};
  auto summary = completion_summary{405, 7, 400, std::chrono::milliseconds{2500}, std::nullopt};
  metrics.prompt_ended(summary);
  metrics.choice_finished(finish_reason::length);
  auto text = registry.render();
  for (auto line :
       {"perigee:prompt_tokens_total{model_name=\"m\"} 405\n", "perigee:generation_tokens_total{model_name=\"m\"} 7\n",
        "perigee:prefix_cache_queries_total{model_name=\"m\"} 405\n",
        "perigee:prefix_cache_hits_total{model_name=\"m\"} 400\n",
        "perigee:request_success_total{model_name=\"m\",finished_reason=\"length\"} 1\n",
        "perigee:request_success_total{model_name=\"m\",finished_reason=\"stop\"} 0\n",
        "perigee:request_queue_time_seconds_bucket{model_name=\"m\",le=\"2.5\"} 1\n",
        "perigee:request_queue_time_seconds_bucket{model_name=\"m\",le=\"2\"} 0\n",
        "perigee:request_prefill_time_seconds_count{model_name=\"m\"} 0\n",
        "perigee:time_to_first_token_seconds_bucket{model_name=\"m\",le=\"2560\"} 0\n",
        "perigee:inter_token_latency_seconds_bucket{model_name=\"m\",le=\"80\"} 0\n",
        "perigee:e2e_request_latency_seconds_bucket{model_name=\"m\",le=\"7680\"} 0\n"}) {
    CAPTURE(line);
    CHECK(text.find(line) != std::string::npos);
  }
}

} // namespace perigee::gateway
