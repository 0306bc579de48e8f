// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/bench_route.hpp"

#include "actors/core/message_types.hpp"
#include "actors/policy/policy_shell.hpp"
#include "actors/policy/route_kvcache_centric.hpp"
#include "actors/policy/route_perigee.hpp"
#include "apps/perigee/bench_route_index.hpp"
#include "apps/perigee/bench_route_open.hpp"
#include "apps/perigee/processor_time.hpp"
#include "apps/perigee/route_load.hpp"
#include "apps/perigee/route_options.hpp"
#include "apps/perigee/sim_analyze.hpp"
#include "apps/perigee/text_table.hpp"
#include "apps/perigee/usage.hpp"
#include "transport/base/spread_key.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include <CLI/App.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

namespace perigee::cli {

namespace {

struct route_bench_options {
  request_source source;
  std::vector<std::string> policies = {"kvcache-centric", "perigee"};
  std::vector<uint32_t> instances = {8, 64};
  uint64_t blocks = 1'000'000;
  uint32_t runs = 5;
  bool open = false;
  double load = 0.5;
  double events = 20'000;
  bool index = false;
  bool json = false;
};

struct route_figures {
  std::string policy;
  uint32_t instances = 0; ///< of prefill, and as many of decode
  double core = 0;        ///< decisions a second of the Conductor's and the policy's cores
  double actors = 0;      ///< the same with both as actors, and all their messages
  double lookups = 0;     ///< of the same keys in the same index, a second
  double keys = 0;        ///< looked up for a decision
};

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

double rate(const route_load& load, double seconds) {
  if (load.placements() != load.keys().size())
    throw failure{errc::corrupt, fmt::format("{} of {} requests were placed", load.placements(), load.keys().size())};
  return static_cast<double>(load.placements()) / seconds;
}

/// The Conductor's core and the policy as a value, called in turn.
template <class Policy>
double core_rate(const std::vector<sim::trace_request>& trace, uint32_t instances, uint64_t blocks) {
  auto now = uint64_t{1'000'000'000};
  auto core = conductor_core{route_conductor_options(Policy::name, instances), now};
  auto load = route_load{trace, instances, instances, 1};
  auto policy = policy_state<Policy>{};
  auto answers = std::vector<placed>{};
  auto send = [&](const auto& message) { core.on(now, message); };
  auto decide = [&] {
    while (auto query = core.next_query(now)) {
      for (const auto& change : core.take_load_changes())
        policy.view.set(change);
      core.on(now, policy.decide(*query));
    }
    for (auto& [who, message] : core.out.take())
      if (auto* answer = std::get_if<placed>(&message))
        answers.push_back(std::move(*answer));
  };
  load.introduce({}, send);
  load.fill(blocks, send);
  decide();
  auto began = processor_seconds();
  load.submit_next(send);
  for (decide(); !answers.empty(); decide())
    for (auto& answer : std::exchange(answers, {}))
      load.on(std::move(answer), send);
  return rate(load, processor_seconds() - began);
}

/// How fast an index that holds nothing but what it must could be asked for the prefixes of all requests, one after the
/// other.
std::pair<double, double> lookup_rate(const std::vector<sim::trace_request>& trace, uint32_t instances, uint64_t blocks) {
  auto load = route_load{trace, instances, instances, 1};
  prefix_index index;
  for (uint64_t i = 0; i < blocks; ++i)
    index.store({spread_key(i, 3), spread_key(i, 4)}, static_cast<uint32_t>(i % instances));
  for (size_t i = 0; i < trace.size(); ++i)
    for (const auto& key : load.keys()[i])
      index.store(key, static_cast<uint32_t>(i % instances));
  auto keys = uint64_t{0};
  auto found = uint64_t{0};
  auto began = processor_seconds();
  for (const auto& request : load.keys()) {
    keys += request.size();
    index.prefetch(request);
    index.each(request, [&](const prefix_index::known& at) {
      found += !at.stored.empty();
      return true;
    });
  }
  auto seconds = processor_seconds() - began;
  if (found != keys)
    throw failure{errc::corrupt, "the index lost keys that were stored"};
  return {static_cast<double>(keys) / seconds, static_cast<double>(keys) / static_cast<double>(trace.size())};
}

route_figures measure(const std::vector<sim::trace_request>& trace, const std::string& policy, uint32_t instances,
                      const route_bench_options& options) {
  auto result = route_figures{policy, instances};
  auto core = std::vector<double>{};
  auto actors = std::vector<double>{};
  auto lookups = std::vector<double>{};
  for (uint32_t run = 0; run < options.runs; ++run) {
    core.push_back(policy == route_perigee::name ? core_rate<route_perigee>(trace, instances, options.blocks)
                                                 : core_rate<route_kvcache_centric>(trace, instances, options.blocks));
    actors.push_back(closed_loop(trace, policy, instances, options.blocks));
    auto [rate, keys] = lookup_rate(trace, instances, options.blocks);
    lookups.push_back(rate);
    result.keys = keys;
  }
  result.core = median(core);
  result.actors = median(actors);
  result.lookups = median(lookups);
  return result;
}

/// `--open`: latencies at a share of the peak, for each policy and size.
int run_open(const std::vector<sim::trace_request>& trace, const route_bench_options& options) {
  auto rows = boost::json::array{};
  auto table = text_table{{"POLICY", "INSTANCES", "BLOCKS", "PEAK/S", "RATE/S", "EVENTS/S", "P50 US", "P99 US", "MAX US"}};
  for (const auto& policy : options.policies)
    for (auto instances : options.instances) {
      auto peak = closed_loop(trace, policy, instances, options.blocks);
      auto it = open_loop(trace, policy, instances, options.blocks, options.load * peak, options.events);
      rows.push_back(boost::json::object{{"policy", policy},
                                         {"prefill", instances},
                                         {"decode", instances},
                                         {"blocks", options.blocks},
                                         {"peak_decisions_s", peak},
                                         {"decisions_s", it.rate},
                                         {"events_s", it.events},
                                         {"p50_us", it.p50_us},
                                         {"p99_us", it.p99_us},
                                         {"max_us", it.max_us}});
      table.add({policy, fmt::format("{0}+{0}", instances), std::to_string(options.blocks), fmt::format("{:.0f}", peak),
                 fmt::format("{:.0f}", it.rate), fmt::format("{:.0f}", it.events), fmt::format("{:.1f}", it.p50_us),
                 fmt::format("{:.1f}", it.p99_us), fmt::format("{:.1f}", it.max_us)});
    }
  if (options.json)
    std::printf("%s\n", boost::json::serialize(boost::json::object{{"rows", std::move(rows)}}).c_str());
  else
    std::printf("%s", table.text().c_str());
  return exit_success;
}

/// `--index`: memory of the index, and what a first block that all requests share costs.
int run_index(const std::vector<sim::trace_request>& trace, const route_bench_options& options) {
  auto memory = measure_index(options.blocks);
  auto plain = without_shared_block(trace);
  auto instances = options.instances.front();
  auto ratios = std::vector<double>{};
  for (uint32_t run = 0; run < options.runs; ++run)
    ratios.push_back(core_rate<route_kvcache_centric>(plain, instances, options.blocks)
                     / core_rate<route_kvcache_centric>(trace, instances, options.blocks));
  if (options.json)
    std::printf("%s\n", boost::json::serialize(boost::json::object{{"blocks", memory.blocks},
                                                                   {"bytes_per_block", memory.block_bytes},
                                                                   {"bytes_per_further_replica", memory.replica_bytes},
                                                                   {"prefill", instances},
                                                                   {"decode", instances},
                                                                   {"shared_first_block_costs", median(ratios)}})
                          .c_str());
  else
    std::printf("index of %llu blocks: %.1f bytes a block with one replica, %.1f for each further one\n"
                "a first block that all requests share: a decision takes %.2f times as long (%u + %u instances)\n",
                static_cast<unsigned long long>(memory.blocks), memory.block_bytes, memory.replica_bytes, median(ratios),
                instances, instances);
  return exit_success;
}

int run_bench_route(const route_bench_options& options) {
  for (const auto& policy : options.policies)
    if (policy != route_kvcache_centric::name && policy != route_perigee::name)
      throw usage_error(fmt::format("--policy: \"{}\" is not measured; allowed: {}, {}", policy,
                                    route_kvcache_centric::name, route_perigee::name));
  auto source = options.source;
  if (source.trace.empty() && source.draw.empty())
    source.draw = "conversation:1";
  auto trace = load_requests(source);
  init_message_types();
  if (options.open)
    return run_open(trace, options);
  if (options.index)
    return run_index(trace, options);
  auto rows = boost::json::array{};
  auto table = text_table{{"POLICY", "INSTANCES", "CORE/S", "ACTORS/S", "US", "LOOKUPS/S", "LIMIT/S", "CORE/LIMIT"}};
  for (const auto& policy : options.policies)
    for (auto instances : options.instances) {
      auto it = measure(trace, policy, instances, options);
      auto limit = it.lookups / it.keys;
      rows.push_back(boost::json::object{{"policy", it.policy},
                                         {"prefill", it.instances},
                                         {"decode", it.instances},
                                         {"blocks", options.blocks},
                                         {"decisions", trace.size()},
                                         {"core_decisions_s", it.core},
                                         {"actor_decisions_s", it.actors},
                                         {"keys_per_decision", it.keys},
                                         {"lookups_s", it.lookups},
                                         {"limit_decisions_s", limit},
                                         {"core_to_limit", it.core / limit}});
      table.add({it.policy, fmt::format("{0}+{0}", it.instances), fmt::format("{:.0f}", it.core),
                 fmt::format("{:.0f}", it.actors), fmt::format("{:.2f}", 1e6 / it.core),
                 fmt::format("{:.3g}", it.lookups), fmt::format("{:.0f}", limit),
                 fmt::format("{:.2f}", it.core / limit)});
    }
  if (options.json)
    std::printf("%s\n", boost::json::serialize(boost::json::object{{"rows", std::move(rows)}}).c_str());
  else
    std::printf("%s", table.text().c_str());
  return exit_success;
}

} // namespace

void add_bench_route(CLI::App& bench, action& chosen) {
  auto options = std::make_shared<route_bench_options>();
  auto* sub = bench.add_subcommand(
    "route", "The Conductor: decisions a second, as a value and as actors with all messages, beside bare index look-ups.");
  sub->add_option("--trace", options->source.trace, "recorded traffic, public JSONL format; - is standard input");
  sub->add_option("--draw", options->source.draw, "drawn traffic, KIND:SEED; conversation:1 if there is no --trace");
  sub->add_option("--requests", options->source.requests, "only the first so many; 0: all of them")->capture_default_str();
  sub->add_option("--policy", options->policies, "kvcache-centric, perigee")->delimiter(',')->capture_default_str();
  sub->add_option("--instances", options->instances, "of prefill, and as many of decode")
    ->delimiter(',')
    ->check(CLI::Range(2u, 8192u))
    ->capture_default_str();
  sub->add_option("--blocks", options->blocks, "in the index beside those of the requests")->capture_default_str();
  sub->add_option("--runs", options->runs, "medians are taken over so many")->check(CLI::Range(1u, 100u))->capture_default_str();
  auto* open = sub->add_flag("--open", options->open, "latencies while requests come at a rate of their own, beside the peak");
  sub->add_option("--load", options->load, "of --open: share of the peak")->check(CLI::Range(0.01, 0.95))->needs(open)->capture_default_str();
  sub->add_option("--events", options->events, "of --open: index events a second beside those of the requests")
    ->check(CLI::Range(1.0, 1e7))
    ->needs(open)
    ->capture_default_str();
  sub->add_flag("--index", options->index, "memory of the index, and the cost of a first block that all requests share")->excludes(open);
  sub->add_flag("--json", options->json, "the figures as JSON");
  sub->footer("Examples:\n  perigee bench route --trace conversation_trace.jsonl --instances 8,64 --blocks 1000000\n"
              "  perigee bench route --open --policy perigee --instances 512,4096 --blocks 10000000\n"
              "  perigee bench route --index");
  sub->callback([&chosen, options] { chosen = [options] { return run_bench_route(*options); }; });
}

} // namespace perigee::cli
