// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/command.hpp"
#include "apps/perigee/sim_analyze.hpp"

#include <memory>

namespace perigee::cli {

namespace {

struct sim_options {
  request_source source;
  std::vector<uint64_t> cache_tokens = {3'000'000};
  std::string write_trace;
  bool analyze = false;
  bool json = false;
};

int run_sim(const sim_options& options) {
  if (!options.write_trace.empty())
    return run_write_trace(options.source, options.write_trace);
  if (options.analyze)
    return run_sim_analyze(options.source, options.cache_tokens, options.json);
  throw usage_error("sim: found neither --analyze nor --write-trace; name one");
}

} // namespace

void add_sim(CLI::App& app, action& chosen) {
  auto options = std::make_shared<sim_options>();
  auto* sub = app.add_subcommand("sim", "Traces of requests: what they hold, and drawing new ones.");
  sub->add_option("--trace", options->source.trace, "public JSONL trace; - reads standard input");
  sub->add_option("--draw", options->source.draw,
                  "drawn requests instead, KIND:SEED with a KIND of conversation, agent, documents or short");
  sub->add_option("--requests", options->source.requests, "at most so many; 0: the whole trace, or 12,000 drawn ones")
    ->check(CLI::Range(0.0, 1e15)) // as a double, since CLI11 takes "-1" for a large unsigned number
    ->capture_default_str();
  sub->add_option("--rate", options->source.rate, "drawn requests per second; 0: that of the kind")
    ->check(CLI::Range(0.0, 1e6))
    ->capture_default_str();
  sub->add_flag("--analyze", options->analyze, "lengths, shared prefixes, and what caches of some sizes would find");
  sub->add_option("--cache-tokens", options->cache_tokens, "sizes of caches")
    ->delimiter(',')
    ->check(CLI::Range(0.0, 1e15))
    ->capture_default_str();
  sub->add_option("--write-trace", options->write_trace, "write the requests as JSONL; - is standard output");
  sub->add_flag("--json", options->json, "the figures as JSON");
  sub->footer("Examples:\n"
              "  perigee sim --analyze --trace conversation_trace.jsonl --cache-tokens 3000000,24000000\n"
              "  perigee sim --draw agent:1 --requests 5000 --write-trace agent.jsonl");
  sub->callback([&chosen, options] { chosen = [options] { return run_sim(*options); }; });
}

} // namespace perigee::cli
