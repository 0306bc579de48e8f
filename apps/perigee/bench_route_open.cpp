// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/bench_route_open.hpp"

#include "actors/core/post.hpp"
#include "actors/policy/registry.hpp"
#include "actors/sim/world.hpp"
#include "apps/perigee/processor_time.hpp"
#include "apps/perigee/route_load.hpp"
#include "apps/perigee/route_options.hpp"
#include "transport/base/status.hpp"

#include <caf/event_based_actor.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <vector>

namespace perigee::cli {

namespace {

constexpr uint32_t churn_blocks = 8; // stored by one message, and as many evicted

/// The Conductor and its policy as actors, and one actor for everybody around them.
class route_stage {
public:
  auto sender() { // Stands first, because its type is deduced.
    return [this](auto message) { post(target_, std::move(message)); };
  }

  route_stage(std::span<const sim::trace_request> trace, const std::string& policy, uint32_t instances, uint64_t blocks)
    : home_{{.digest = false, .steps_per_instant_max = UINT64_MAX, .messages_per_turn = 300}},
      load_{trace, instances, instances, 1} {
    auto decider = (find_routing_policy(policy)->spawn)(home_.system());
    target_ = caf::actor_cast<caf::actor>(
      home_.spawn_class<conductor>("conductor", route_conductor_options(policy, instances), decider));
    auto around = home_.spawn("around", [this](caf::event_based_actor*) {
      return caf::behavior{
        [this](placed& answer) { on_placed_(std::move(answer)); }, [](const accepted&) {}, [](const report_ack&) {},
        [](const withdrawn&) {}, [](const index_ack&) {}, [](const conductor_hello&) {},
      };
    });
    load_.introduce(around, sender());
    home_.run_ready();
    load_.fill(blocks, [this](index_events events) {
      post(target_, std::move(events));
      home_.run_ready();
    });
  }

  route_load& load() {
    return load_;
  }
  void run_ready() {
    home_.run_ready();
  }
  void on_placed(std::function<void(placed)> what) {
    on_placed_ = std::move(what);
  }
  void check_all_placed() const {
    if (load_.placements() != load_.keys().size())
      throw failure{errc::corrupt, fmt::format("{} of {} requests were placed", load_.placements(), load_.keys().size())};
  }

private:
  sim::world home_;
  route_load load_;
  caf::actor target_;
  std::function<void(placed)> on_placed_;
};

} // namespace

double closed_loop(std::span<const sim::trace_request> trace, const std::string& policy, uint32_t instances,
                   uint64_t blocks) {
  auto stage = route_stage{trace, policy, instances, blocks};
  stage.on_placed([&](placed answer) { stage.load().on(std::move(answer), stage.sender()); });
  auto began = processor_seconds();
  stage.load().submit_next(stage.sender());
  stage.run_ready();
  auto seconds = processor_seconds() - began;
  stage.check_all_placed();
  return static_cast<double>(trace.size()) / seconds;
}

route_latencies open_loop(std::span<const sim::trace_request> trace, const std::string& policy, uint32_t instances,
                          uint64_t blocks, double rate, double events) {
  auto stage = route_stage{trace, policy, instances, blocks};
  auto skipped = 0.0;
  auto began = processor_seconds();
  auto now = [&] { return processor_seconds() - began + skipped; };
  auto arrivals = std::vector<double>{};
  auto waits_us = std::vector<double>{};
  stage.on_placed([&](placed answer) {
    waits_us.push_back(1e6 * (now() - arrivals.at(answer.id.request.number)));
    stage.load().after(std::move(answer), stage.sender());
  });
  auto random = std::mt19937_64{1};
  auto gap = [&] { return -std::log(1 - static_cast<double>(random() >> 11) * 0x1p-53) / rate; };
  auto next_request = gap();
  auto next_churn = 0.0;
  auto applied = uint64_t{0};
  while (arrivals.size() < trace.size()) {
    auto due = std::min(next_request, next_churn);
    if (auto idle = due - now(); idle > 0)
      skipped += idle;
    if (next_request <= next_churn) {
      arrivals.push_back(next_request);
      stage.load().submit_next(stage.sender());
      next_request += gap();
    } else {
      auto news = stage.load().churn(churn_blocks);
      applied += news.events.size();
      stage.sender()(std::move(news));
      next_churn += 2 * churn_blocks / events;
    }
    stage.run_ready();
  }
  auto seconds = now();
  stage.check_all_placed();
  std::ranges::sort(waits_us);
  auto percentile = [&](double share) { return waits_us[static_cast<size_t>(share * static_cast<double>(waits_us.size() - 1))]; };
  return {static_cast<double>(trace.size()) / seconds, trace.size(), static_cast<double>(applied) / seconds,
          percentile(0.5), percentile(0.99), waits_us.back()};
}

} // namespace perigee::cli
