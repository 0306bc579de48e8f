// SPDX-License-Identifier: Apache-2.0
#include "actors/core/interfaces.hpp"
#include "actors/core/message_types.hpp"
#include "actors/policy/registry.hpp"
#include "actors/sim/trace/trace.hpp"
#include "apps/perigee/command.hpp"
#include "apps/perigee/sim_analyze.hpp"
#include "apps/perigee/sim_lines.hpp"
#include "apps/perigee/sim_pages.hpp"
#include "apps/perigee/sim_report.hpp"


#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <unistd.h>

namespace perigee::cli {

namespace {

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

std::string modes_fact(const sim_plan& plan) {
  auto names = std::vector<std::string>{};
  for (const auto& run : plan.runs)
    if (std::ranges::find(names, run.mode) == names.end())
      names.push_back(run.mode);
  return fmt::format("{}", fmt::join(names, ", "));
}

/// What a page says about its runs.
std::vector<std::string> facts_of(const sim_flags& flags, const sim_plan& plan,
                                  const std::vector<sim::trace_request>& trace) {
  auto facts = std::vector<std::string>{
    flags.source.trace.empty() ? "drawn " + flags.source.draw : "trace " + std::filesystem::path{flags.source.trace}.filename().string(),
    fmt::format("{} requests in {:.0f} s at 1x", trace.size(), static_cast<double>(trace.back().arrival_ns) / 1e9),
    fmt::format("{} prefill + {} decode", flags.prefill, flags.decode),
    modes_fact(plan),
    fmt::format("profile {}", flags.profile),
    fmt::format("SLO {}", flags.slo),
    fmt::format("lengths {}", flags.lengths)};
  if (!flags.noise.empty())
    facts.push_back("noise " + flags.noise);
  if (flags.speeds.size() == 1)
    facts.push_back(fmt::format("speed {}x", flags.speeds.front()));
  if (flags.admissions.size() <= 1)
    facts.push_back("admission " + plan.runs.front().admission);
  facts.push_back("seed " + flags.seed);
  return facts;
}

int run_sim(const sim_flags& flags) {
  auto plan = plan_sim(flags);
  auto trace = load_requests(flags.source);
  check_trace(plan, trace);
  auto pages = sim_pages{flags.html, flags.timeline};
  auto decisions = sim_lines{"--decisions", flags.decisions};
  auto outcomes = sim_lines{"--outcomes", flags.outcomes};
  init_message_types();
  auto rows = std::vector<sim_row>{};
  auto problems = std::string{};
  {
    progress_line line{!flags.json};
    for (size_t i = 0; i < plan.runs.size(); ++i) {
      const auto& run = plan.runs[i];
      auto recorder = sim::run_recorder{pages.slices_wanted()};
      auto options = options_of(plan, run);
      if (pages.wanted())
        options.recorder = &recorder;
      if (decisions.wanted())
        options.on_decision = [&](const decision_record& decision, uint64_t start_ns) {
          decisions.add(decision_line(run, decision, start_ns));
        };
      auto result = sim::run_replay(trace, options, [&](size_t ended, uint64_t virtual_ns) {
        line.show(i + 1, plan.runs.size(), run.policy, ended, trace.size(), virtual_ns);
      });
      for (const auto& problem : result.problems)
        problems += fmt::format("sim: policy {}, seed {}: {}\n", run.policy, run.seed, problem);
      rows.push_back(row_of(plan, run, result));
      for (size_t number = 0; outcomes.wanted() && number < result.records.size(); ++number)
        outcomes.add(outcome_line(run, number + 1, result.records[number]));
      if (pages.wanted())
        pages.add(recorder.finish(result.records));
    }
  }
  decisions.close();
  outcomes.close();
  pages.write(plan, rows, facts_of(flags, plan, trace));
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

/// "all" stands for every routing policy of this binary.
std::vector<std::string> named_policies(const std::vector<std::string>& policies) {
  if (policies != std::vector<std::string>{"all"})
    return policies;
  auto names = std::vector<std::string>{};
  for (const auto& entry : routing_policies())
    names.push_back(entry.name);
  return names;
}

int run_chosen(sim_flags flags) {
  load_plugins(flags.plugins);
  flags.policies = named_policies(flags.policies);
  if (!flags.write_trace.empty())
    return run_write_trace(flags.source, flags.write_trace);
  if (!flags.analyze)
    return run_sim(flags);
  auto sizes = flags.cache_tokens;
  if (sizes.empty())
    sizes.push_back(analyzed_cache_tokens);
  auto evictions = std::vector<eviction>{};
  for (const auto& name : flags.evictions)
    evictions.push_back(eviction_of(name));
  return run_sim_analyze(flags.source, sizes, evictions, flags.json);
}

} // namespace

void add_sim(CLI::App& app, action& chosen) {
  auto flags = std::make_shared<sim_flags>();
  auto* sub = app.add_subcommand("sim", "Traffic through the real control plane in virtual time: one row a policy.");
  sub->add_option("--trace", flags->source.trace, "recorded traffic, public JSONL format; - is standard input");
  sub->add_option("--draw", flags->source.draw,
                  "drawn traffic instead, KIND:SEED with a KIND of conversation, agent, documents or short");
  sub->add_option("--rate", flags->source.rate, "drawn requests per second; 0: that of the kind")
    ->check(CLI::Range(0.0, 1e6))
    ->capture_default_str();
  sub->add_option("--policy", flags->policies, "routing policies to compare; all: every one [perigee]")
    ->delimiter(',');
  sub->add_option("--plugin", flags->plugins, "a shared library with more routing policies; may be repeated");
  sub->add_option("--route-params", flags->route_params,
                  "parameters of the routing policies, NAME=NUMBER[,..] (perigee policies lists them)");
  sub->add_option("--local-order", flags->local_order, "order of the jobs at a prefill instance: fifo, shortest-first")
    ->capture_default_str();
  sub->add_option("--eviction", flags->evictions, "eviction rules to compare, also with --analyze")
    ->delimiter(',')->capture_default_str();
  sub->add_option("--copies-cool", flags->copies_cool,
                  "percent of a cache used since a block that another one has copied, until it goes first; 0: never")
    ->check(CLI::Range(0u, 1000u))->capture_default_str();
  sub->add_option("--roles", flags->roles,
                  "auto: devices change between prefill and decode where the policy says so; fixed: they never do")
    ->capture_default_str();
  sub->add_option("--admission", flags->admissions, "admission policies to compare [with --policy none, else early]")
    ->delimiter(',');
  sub->add_option("--prefill", flags->prefill, "prefill instances")->check(CLI::Range(1u, 1024u))->capture_default_str();
  sub->add_option("--decode", flags->decode, "decode instances")->check(CLI::Range(1u, 1024u))->capture_default_str();
  sub->add_option("--coupled", flags->coupled,
                  "none; or prefill-first, chunked: the instances of --prefill and --decode together do both, each with "
                  "a cache of its own")
    ->delimiter(',')->capture_default_str();
  sub->add_flag("--conditional", flags->conditional,
                "decode instances compute what is short and mostly cached themselves");
  sub->add_option("--conditional-tokens", flags->conditional_tokens, "with fewer uncached tokens than that")
    ->check(CLI::Range(1u, 1u << 20))->capture_default_str();
  sub->add_option("--conditional-share", flags->conditional_share, "and less than this share of the prompt uncached")
    ->check(CLI::Range(0.0, 2.0))->capture_default_str();
  sub->add_option("--mixed-chunk", flags->mixed_chunk,
                  "tokens of a prompt that a decode instance computes between two steps")
    ->check(CLI::Range(1u, 1u << 20))->capture_default_str();
  sub->add_option("--cpp", flags->cpp,
                  "idle prefill instances share the layers of long prompts: on, off, or auto: where the policy wants it")
    ->capture_default_str();
  sub->add_option("--cpp-uncached", flags->cpp_limits.uncached_tokens_min, "of prompts with at least so many uncached tokens")
    ->check(CLI::Range(1u, 1u << 30))->capture_default_str();
  sub->add_option("--cpp-stages", flags->cpp_limits.stages_max, "the most instances that share a prompt")
    ->check(CLI::Range(2u, 8u))->capture_default_str();
  sub->add_option("--cpp-chunk", flags->cpp_limits.chunk_tokens, "tokens that go through a stage at once")
    ->check(CLI::Range(1u, 1u << 20))->capture_default_str();
  sub->add_option("--speed", flags->speeds, "arrivals come so much faster")->delimiter(',')->capture_default_str();
  sub->add_option("--requests", flags->source.requests, "only the first so many; 0: the whole trace, or 12,000 drawn ones")
    ->check(CLI::Range(0.0, 1e15)) // as a double, since CLI11 takes "-1" for a large unsigned number
    ->capture_default_str();
  sub->add_option("--seed,--seeds", flags->seed, "one, or FIRST..LAST")->capture_default_str();
  sub->add_option("--lengths", flags->lengths, "oracle: max_tokens is the output's length; unknown: what the context leaves")
    ->capture_default_str();
  sub->add_option("--slo", flags->slo, "what counts as effective")->capture_default_str();
  sub->add_option("--cache-tokens", flags->cache_tokens,
                  "DRAM cache beside each prefill instance, by default the profile's; with --analyze a list of sizes")
    ->delimiter(',')
    ->check(CLI::Range(1.0, 1e15));
  sub->add_option("--profile", flags->profile, "cost profile of the devices, or a JSON file of one")->capture_default_str();
  sub->add_option("--noise", flags->noise, "imperfect knowledge: prefill=SIGMA,reports=AGE,events=SHARE");
  sub->add_option("--chunk-tokens", flags->chunk_tokens, "tokens of a prompt computed at once")
    ->check(CLI::Range(1u, 1u << 20))
    ->capture_default_str();
  sub->add_option("--block-tokens", flags->source.block_tokens, "tokens for which a trace has an id, and in one KV block")
    ->check(CLI::Range(1u, 1u << 20))
    ->capture_default_str();
  sub->add_option("--max-batch", flags->max_batch, "sequences in one decode step; 0: all")
    ->check(CLI::Range(0u, 1u << 20))
    ->capture_default_str();
  sub->add_option("--deadline", flags->deadline, "of each request, such as 600s; none if absent");
  sub->add_flag("--digest", flags->digest, "SHA-256 over every message and timer (takes time)");
  sub->add_option("--digest-log", flags->digest_log, "a file for one line a message and timer");
  sub->add_flag("--serialize", flags->serialize, "write and read back every control message (takes time)");
  sub->add_flag("--analyze", flags->analyze, "no run: lengths, shared prefixes, and what caches of some sizes would find");
  sub->add_option("--write-trace", flags->write_trace, "no run: write the requests as JSONL; - is standard output");
  sub->add_option("--html", flags->html, "a file for a page of tables and charts; it needs no network");
  sub->add_option("--timeline", flags->timeline, "a file for a timeline that Perfetto opens");
  sub->add_option("--decisions", flags->decisions,
                  "a file for one JSON object a line: each decision with its best offers and their terms");
  sub->add_option("--outcomes", flags->outcomes,
                  "a file for one JSON object a line: each request with its times and cached tokens");
  sub->add_flag("--json", flags->json, "the rows as JSON");
  sub->footer("Examples:\n"
              "  perigee sim --trace conversation_trace.jsonl --policy kvcache-centric,least-seconds\n"
              "  perigee sim --trace t.jsonl --prefill 6 --decode 10 --speed 1,2,3 --admission none,early --json\n"
              "  perigee sim --trace t.jsonl --requests 1000 --seeds 1..5 --digest\n"
              "  perigee sim --draw short:1 --coupled none,prefill-first,chunked --speed 1,2,4\n"
              "  perigee sim --trace t.jsonl --policy kvcache-centric,random --html runs.html --timeline runs.json\n"
              "  perigee sim --draw conversation:1 --plugin build/libmy-policies.so --policy mine,kvcache-centric\n"
              "  perigee sim --trace t.jsonl --block-tokens 16 --chunk-tokens 256 --max-batch 16 --profile measured.json\n"
              "  perigee sim --analyze --trace t.jsonl --cache-tokens 3000000,24000000\n"
              "  perigee sim --analyze --trace t.jsonl --cache-tokens 3000000 --eviction lfu,length-aware,reuse\n"
              "  perigee sim --draw agent:1 --requests 5000 --write-trace agent.jsonl");
  sub->callback([&chosen, flags] { chosen = [flags] { return run_chosen(*flags); }; });
}

} // namespace perigee::cli
