// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/bench_sim.hpp"

#include "actors/core/interfaces.hpp"
#include "actors/core/message_types.hpp"
#include "actors/sim/replay/replay.hpp"
#include "apps/perigee/processor_time.hpp"
#include "apps/perigee/sim_analyze.hpp"
#include "apps/perigee/usage.hpp"

#include <caf/event_based_actor.hpp>
#include <caf/send.hpp>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include <CLI/App.hpp>
#include <fmt/format.h>

#include <cstdio>
#include <memory>

namespace perigee::cli {

namespace {

struct sim_bench_options {
  request_source source;
  std::string policy = "kvcache-centric";
  uint32_t prefill = 8;
  uint32_t decode = 8;
  bool digest = false;
  bool json = false;
};

/// What a message costs of which nobody makes anything: two actors that pass one to and fro.
double bare_message_seconds() {
  constexpr uint64_t messages = 500'000; // at one instant, of which a world allows a million
  sim::world home{{.digest = false}};
  auto left = messages;
  auto player = [&left](caf::event_based_actor* self) {
    return caf::behavior{[&left, self](atom::wake, const caf::actor& other) {
      if (--left > 0)
        caf::anon_send(other, atom::wake_v, caf::actor{self});
    }};
  };
  auto one = home.spawn("one", player);
  auto two = home.spawn("two", player);
  auto began = processor_seconds();
  caf::anon_send(one, atom::wake_v, two);
  home.run_ready();
  return (processor_seconds() - began) / static_cast<double>(messages);
}

int run_bench_sim(const sim_bench_options& options) {
  auto source = options.source;
  if (source.trace.empty() && source.draw.empty())
    source.draw = "conversation:1";
  auto trace = load_requests(source);
  init_message_types();
  auto bare = bare_message_seconds();
  sim::replay_options run;
  run.cluster.policy = options.policy;
  run.cluster.prefills = options.prefill;
  run.cluster.decodes = options.decode;
  run.digest = options.digest;
  auto began = processor_seconds();
  auto result = sim::run_replay(trace, run);
  auto seconds = processor_seconds() - began;
  auto message = seconds / static_cast<double>(result.messages);
  auto virtual_s = static_cast<double>(result.virtual_ns) / 1e9;
  if (options.json) {
    auto out = boost::json::object{{"requests", trace.size()},
                                   {"decode_steps", result.decode_steps},
                                   {"messages", result.messages},
                                   {"timers", result.timers},
                                   {"virtual_s", virtual_s},
                                   {"processor_s", seconds},
                                   {"us_per_message", message * 1e6},
                                   {"bare_us_per_message", bare * 1e6},
                                   {"ratio_to_bare", message / bare},
                                   {"simulated_to_real", virtual_s / seconds}};
    std::printf("%s\n", boost::json::serialize(out).c_str());
    return exit_success;
  }
  std::printf("sim: %zu requests, %llu decode steps, %llu messages, %llu timers\n"
              "%.3f us per message; an empty one costs %.3f us, so %.1f times that\n"
              "%.0f s of traffic in %.2f s of one core: %.0f times faster than it happens\n",
              trace.size(), static_cast<unsigned long long>(result.decode_steps),
              static_cast<unsigned long long>(result.messages), static_cast<unsigned long long>(result.timers),
              message * 1e6, bare * 1e6, message / bare, virtual_s, seconds, virtual_s / seconds);
  return exit_success;
}

} // namespace

void add_bench_sim(CLI::App& bench, action& chosen) {
  auto options = std::make_shared<sim_bench_options>();
  auto* sub = bench.add_subcommand("sim", "The simulator: time per message beside an empty message's, simulated to real.");
  sub->add_option("--trace", options->source.trace, "recorded traffic, public JSONL format; - is standard input");
  sub->add_option("--draw", options->source.draw, "drawn traffic, KIND:SEED; conversation:1 if there is no --trace");
  sub->add_option("--requests", options->source.requests, "only the first so many; 0: all of them")->capture_default_str();
  sub->add_option("--policy", options->policy, "routing policy")->capture_default_str();
  sub->add_option("--prefill", options->prefill, "prefill instances")->check(CLI::Range(1u, 1024u))->capture_default_str();
  sub->add_option("--decode", options->decode, "decode instances")->check(CLI::Range(1u, 1024u))->capture_default_str();
  sub->add_flag("--digest", options->digest, "with the digest over everything");
  sub->add_flag("--json", options->json, "the figures as JSON");
  sub->footer("Example:\n  perigee bench sim --trace conversation_trace.jsonl");
  sub->callback([&chosen, options] { chosen = [options] { return run_bench_sim(*options); }; });
}

} // namespace perigee::cli
