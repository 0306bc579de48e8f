// SPDX-License-Identifier: Apache-2.0
#include "actors/core/interfaces.hpp"
#include "actors/sim/trace/trace.hpp"
#include "apps/perigee/command.hpp"
#include "apps/perigee/sim_report.hpp"

#include <caf/init_global_meta_objects.hpp>

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <unistd.h>

namespace perigee::cli {

namespace {

std::vector<sim::trace_request> load_trace(const sim_flags& flags) {
  auto all = std::vector<sim::trace_request>{};
  try {
    all = sim::read_trace_file(flags.trace);
  } catch (const failure& error) {
    throw usage_error(fmt::format("--trace: {}", error.what()));
  }
  if (flags.requests > 0 && flags.requests < all.size())
    all.resize(flags.requests);
  return all;
}

void check_cluster(const sim_plan& plan, const std::vector<sim::trace_request>& trace) {
  auto longest = uint64_t{0};
  for (const auto& it : trace)
    longest = std::max(longest, uint64_t{it.input_tokens} + it.output_tokens);
  const auto& cluster = plan.common.cluster;
  if (longest + cluster.block_tokens > cluster.profile.decode_tokens)
    throw usage_error(fmt::format("--trace: its longest request has {} tokens, a decode instance of profile {} holds {}; "
                                  "take a profile with more decode memory",
                                  longest, cluster.profile.name, cluster.profile.decode_tokens));
}

/// A line that is written over, on a terminal only.
class progress_line {
public:
  explicit progress_line(bool wanted) : shown_(wanted && isatty(STDERR_FILENO) == 1) {}
  ~progress_line() {
    if (shown_)
      std::fprintf(stderr, "\r\033[K");
  }

  void show(size_t run, size_t runs, const std::string& policy, size_t ended, size_t requests, uint64_t virtual_ns) {
    if (shown_)
      std::fprintf(stderr, "\r\033[Krun %zu of %zu, %s: %zu of %zu requests, %.0f s of traffic", run, runs,
                   policy.c_str(), ended, requests, static_cast<double>(virtual_ns) / 1e9);
  }

private:
  bool shown_;
};

int run_sim(const sim_flags& flags) {
  auto plan = plan_sim(flags);
  auto trace = load_trace(flags);
  check_cluster(plan, trace);
  caf::init_global_meta_objects<caf::id_block::perigee>();
  caf::core::init_global_meta_objects();
  auto rows = std::vector<sim_row>{};
  auto problems = std::string{};
  {
    progress_line line{!flags.json};
    for (size_t i = 0; i < plan.runs.size(); ++i) {
      const auto& run = plan.runs[i];
      auto result = sim::run_replay(trace, options_of(plan, run), [&](size_t ended, uint64_t virtual_ns) {
        line.show(i + 1, plan.runs.size(), run.policy, ended, trace.size(), virtual_ns);
      });
      for (const auto& problem : result.problems)
        problems += fmt::format("sim: policy {}, seed {}: {}\n", run.policy, run.seed, problem);
      rows.push_back(row_of(plan, run, result));
    }
  }
  if (flags.json) {
    auto all = boost::json::array{};
    for (const auto& row : rows)
      all.push_back(sim_json(row));
    std::printf("%s\n", boost::json::serialize(boost::json::object{{"rows", all}}).c_str());
  } else {
    std::printf("%s", render_sim(rows).c_str());
  }
  if (problems.empty())
    return exit_success;
  std::fprintf(stderr, "%s", problems.c_str());
  return exit_failure;
}

} // namespace

void add_sim(CLI::App& app, action& chosen) {
  auto flags = std::make_shared<sim_flags>();
  auto* sub = app.add_subcommand("sim", "Traffic through the real control plane in virtual time: one row a policy.");
  sub->add_option("--trace", flags->trace, "recorded traffic, public JSONL format; - is standard input")->required();
  sub->add_option("--policy", flags->policies, "routing policies to compare")->delimiter(',')->capture_default_str();
  sub->add_option("--admission", flags->admissions, "admission policies to compare")->delimiter(',')->capture_default_str();
  sub->add_option("--prefill", flags->prefill, "prefill instances")->check(CLI::Range(1u, 1024u))->capture_default_str();
  sub->add_option("--decode", flags->decode, "decode instances")->check(CLI::Range(1u, 1024u))->capture_default_str();
  sub->add_option("--speed", flags->speeds, "arrivals come so much faster")->delimiter(',')->capture_default_str();
  sub->add_option("--requests", flags->requests, "only the first so many; 0: all")->capture_default_str();
  sub->add_option("--seed,--seeds", flags->seed, "one, or FIRST..LAST")->capture_default_str();
  sub->add_option("--lengths", flags->lengths, "oracle: max_tokens is the output's length; unknown: what the context leaves")
    ->capture_default_str();
  sub->add_option("--slo", flags->slo, "what counts as effective")->capture_default_str();
  sub->add_option("--cache-tokens", flags->cache_tokens, "DRAM cache beside each prefill instance; 0: the profile's")
    ->capture_default_str();
  sub->add_option("--profile", flags->profile, "cost profile of the devices")->capture_default_str();
  sub->add_option("--noise", flags->noise, "imperfect knowledge: prefill=SIGMA,reports=AGE,events=SHARE");
  sub->add_option("--chunk-tokens", flags->chunk_tokens, "tokens of a prompt computed at once")
    ->check(CLI::Range(512u, 1u << 20))
    ->capture_default_str();
  sub->add_option("--deadline", flags->deadline, "of each request, such as 600s; none if absent");
  sub->add_flag("--digest", flags->digest, "SHA-256 over every message and timer (takes time)");
  sub->add_option("--digest-log", flags->digest_log, "a file for one line a message and timer");
  sub->add_flag("--serialize", flags->serialize, "write and read back every control message (takes time)");
  sub->add_flag("--json", flags->json, "the rows as JSON");
  sub->footer("Examples:\n"
              "  perigee sim --trace conversation_trace.jsonl --policy kvcache-centric,least-seconds\n"
              "  perigee sim --trace t.jsonl --prefill 6 --decode 10 --speed 1,2,3 --admission none,early --json\n"
              "  perigee sim --trace t.jsonl --requests 1000 --seeds 1..5 --digest");
  sub->callback([&chosen, flags] { chosen = [flags] { return run_sim(*flags); }; });
}

} // namespace perigee::cli
