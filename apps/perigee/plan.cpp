// SPDX-License-Identifier: Apache-2.0
#include "actors/core/message_types.hpp"
#include "actors/sim/plan/plan_search.hpp"
#include "apps/perigee/command.hpp"
#include "apps/perigee/plan_cluster.hpp"
#include "apps/perigee/plan_report.hpp"
#include "apps/perigee/sim_report.hpp"
#include "transport/base/status.hpp"

#include <boost/json/serialize.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <unistd.h>

namespace perigee::cli {

namespace {

struct plan_flags {
  sim_flags traffic; ///< as for `perigee sim`; split, speed, policy and admission are what is searched
  std::vector<uint32_t> nodes = {16};
  std::vector<std::string> policies = {"perigee", "kvcache-centric"};
  std::vector<std::string> admissions = {"none", "early"};
  std::vector<uint64_t> cache_tokens; ///< empty: the profile's
  double target = 95;
  double step = 1.05;
  std::string model = default_model;
  std::vector<std::string> hosts = {"127.0.0.1"};
  std::string write;
  bool json = false;
};

constexpr uint64_t planned_requests = 2000;

/// One number stands for its quarters, so that there is a frontier to see.
std::vector<uint32_t> node_counts(const std::vector<uint32_t>& given) {
  auto counts = given;
  if (counts.size() == 1)
    counts = {given[0] / 4, given[0] / 2, given[0] * 3 / 4, given[0]};
  std::erase_if(counts, [](uint32_t count) { return count < 2; });
  std::ranges::sort(counts);
  counts.erase(std::ranges::unique(counts).begin(), counts.end());
  return counts;
}

/// Runs what the search asks for, and says so on a terminal.
class trials {
public:
  trials(const plan_flags& flags, const std::vector<uint64_t>& caches, std::vector<sim::trace_request> trace)
    : flags_(flags), caches_(caches), trace_(std::move(trace)),
      shown_(!flags.json && isatty(STDERR_FILENO) == 1) {}

  ~trials() {
    if (shown_)
      std::fprintf(stderr, "\r\033[K");
  }

  sim_plan plan_of(const sim::plan_choice& choice, double speed) const {
    auto flags = flags_.traffic;
    flags.prefill = choice.prefills;
    flags.decode = choice.decodes;
    flags.policies = {flags_.policies.at(choice.policy)};
    flags.admissions = {flags_.admissions.at(choice.admission)};
    flags.cache_tokens = {caches_.at(choice.cache)};
    flags.speeds = {speed};
    return plan_sim(flags);
  }

  double measure(const sim::plan_choice& choice, double speed) {
    auto plan = plan_of(choice, speed);
    check_trace(plan, trace_);
    auto what = fmt::format("run {}: {}+{} {}, {}, {} cache tokens at {:.2f}x", ++runs_, choice.prefills, choice.decodes,
                            plan.runs[0].policy, plan.runs[0].admission, plan.common.cluster.profile.cache_tokens,
                            speed);
    auto result = sim::run_replay(trace_, options_of(plan, plan.runs[0]), [&](size_t ended, uint64_t) {
      show(fmt::format("{}: {} of {} requests", what, ended, trace_.size()));
    });
    if (!result.problems.empty())
      throw std::runtime_error(fmt::format("plan: {}: {}", what, result.problems.front()));
    auto share = sim::summarize(result.records, plan.promised).effective;
    show(fmt::format("{}: {:.1f} % effective", what, 100 * share));
    return share;
  }

  uint64_t runs() const {
    return runs_;
  }
  const std::vector<sim::trace_request>& trace() const {
    return trace_;
  }

private:
  void show(const std::string& text) const {
    if (shown_)
      std::fprintf(stderr, "\r\033[K%s", text.c_str());
  }

  const plan_flags& flags_;
  const std::vector<uint64_t>& caches_;
  const std::vector<sim::trace_request> trace_;
  const bool shown_;
  uint64_t runs_ = 0;
};

void write_cluster(const plan_flags& flags, const trials& at, const plan_outcome& outcome) {
  const auto& best = outcome.points.back();
  if (best.capacity == 0)
    throw failure(errc::not_found, fmt::format("plan: {} nodes keep {:.0f} % of the requests effective at no speed; no "
                                               "cluster file is written",
                                               best.nodes, flags.target));
  auto plan = at.plan_of(best.choice, best.capacity);
  auto options = options_of(plan, plan.runs[0]);
  auto config = cluster_of({options.cluster, plan.runs[0].admission, flags.model, flags.hosts});
  auto text = cluster_text(config, fmt::format("{} prefill + {} decode: {:.1f} % of the requests are effective at {:.2f} times the "
                                               "speed of the planned\ntraffic, which is {:.2f} requests a second.",
                                               best.choice.prefills, best.choice.decodes, 100 * best.effective,
                                               best.capacity, best.capacity * outcome.requests_per_second));
  auto read = actors::parse_cluster_config(text, flags.write, offered_policies());
  if (auto* errors = std::get_if<std::vector<actors::config_error>>(&read))
    throw usage_error(lines_of(*errors));
  auto file = std::ofstream{flags.write, std::ios::binary};
  file << text;
  file.flush();
  if (!file)
    throw failure(errc::io_error, fmt::format("--write: {} cannot be written ({})", flags.write, std::strerror(errno)));
}

int run_plan(plan_flags flags) {
  auto counts = node_counts(flags.nodes);
  if (counts.empty())
    throw usage_error("--nodes: found none of at least 2, allowed are 2 to 512: one node for prefill and one for decode");
  if (flags.traffic.source.requests == 0)
    flags.traffic.source.requests = planned_requests;
  auto caches = flags.cache_tokens;
  if (caches.empty())
    caches.push_back(plan_sim(flags.traffic).common.cluster.profile.cache_tokens);
  std::ranges::sort(caches);
  auto at = trials{flags, caches, load_requests(flags.traffic.source)};
  // Every name and size is refused before the first run.
  for (uint32_t policy = 0; policy < flags.policies.size(); ++policy)
    for (uint32_t admission = 0; admission < flags.admissions.size(); ++admission)
      for (uint32_t cache = 0; cache < caches.size(); ++cache)
        check_trace(at.plan_of({1, 1, policy, admission, cache}, 1), at.trace());
  init_message_types();
  auto options = sim::plan_options{};
  options.nodes = counts;
  options.policies = static_cast<uint32_t>(flags.policies.size());
  options.admissions = static_cast<uint32_t>(flags.admissions.size());
  options.caches = static_cast<uint32_t>(caches.size());
  options.target = flags.target / 100;
  options.step = flags.step;
  auto outcome = plan_outcome{};
  outcome.points =
    sim::search_plan(options, [&](const sim::plan_choice& choice, double speed) { return at.measure(choice, speed); });
  outcome.policies = flags.policies;
  outcome.admissions = flags.admissions;
  outcome.cache_tokens = caches;
  outcome.target = options.target;
  outcome.requests = at.trace().size();
  outcome.runs = at.runs();
  auto span_s = static_cast<double>(at.trace().back().arrival_ns) / 1e9;
  outcome.requests_per_second = span_s > 0 ? static_cast<double>(outcome.requests) / span_s : 0;
  if (!flags.write.empty())
    write_cluster(flags, at, outcome);
  std::printf("%s", flags.json ? (boost::json::serialize(plan_json(outcome)) + '\n').c_str()
                               : render_plan(outcome).c_str());
  return exit_success;
}

} // namespace

void add_plan(CLI::App& app, action& chosen) {
  auto flags = std::make_shared<plan_flags>();
  auto& traffic = flags->traffic;
  auto* sub = app.add_subcommand("plan", "Searches, in the simulator, how to set up some nodes for recorded traffic.");
  sub->add_option("--trace", traffic.source.trace, "recorded traffic, public JSONL format; - is standard input");
  sub->add_option("--draw", traffic.source.draw, "drawn traffic instead, KIND:SEED (see perigee sim --help)");
  sub->add_option("--rate", traffic.source.rate, "drawn requests per second; 0: that of the kind")
    ->check(CLI::Range(0.0, 1e6))->capture_default_str();
  sub->add_option("--requests", traffic.source.requests, "only the first so many; more take longer; 0: 2,000")
    ->check(CLI::Range(0.0, 1e15))->capture_default_str();
  sub->add_option("--nodes", flags->nodes, "numbers of nodes to plan for; one alone stands for its quarters, too")
    ->delimiter(',')->check(CLI::Range(1u, 512u))->capture_default_str();
  sub->add_option("--slo", traffic.slo, "what counts as effective")->capture_default_str();
  sub->add_option("--target", flags->target, "percent of the requests that must be effective")
    ->check(CLI::Range(1.0, 100.0))->capture_default_str();
  sub->add_option("--step", flags->step, "ratio of neighbouring speeds that are tried")
    ->check(CLI::Range(1.01, 4.0))->capture_default_str();
  sub->add_option("--profile", traffic.profile, "cost profile of the devices, or a JSON file of one")->capture_default_str();
  sub->add_option("--policy", flags->policies, "routing policies to choose from")->delimiter(',')->capture_default_str();
  sub->add_option("--admission", flags->admissions, "admission policies to choose from")
    ->delimiter(',')->capture_default_str();
  sub->add_option("--cache-tokens", flags->cache_tokens,
                  "sizes of the DRAM cache beside each prefill instance to choose from; by default the profile's")
    ->delimiter(',')->check(CLI::Range(1.0, 1e15));
  sub->add_option("--eviction", traffic.evictions, "eviction rule of the caches")->capture_default_str();
  sub->add_option("--lengths", traffic.lengths, "oracle: max_tokens is the output's length; unknown: what the context leaves")
    ->capture_default_str();
  sub->add_option("--seed", traffic.seed, "of the simulation")->capture_default_str();
  sub->add_option("--write", flags->write, "a file for the cluster file of the largest number of nodes");
  sub->add_option("--model", flags->model, "the model that the cluster file names")->capture_default_str();
  sub->add_option("--hosts", flags->hosts, "the hosts that the cluster file spreads its nodes over")
    ->delimiter(',')->capture_default_str();
  sub->add_flag("--json", flags->json, "the frontier as JSON");
  sub->footer("A larger cache is chosen only if it carries more. What is found is for the first --requests of the traffic,\n"
              "which begin with empty caches.\n\n"
              "Examples:\n"
              "  perigee plan --trace conversation_trace.jsonl --slo ttft=30s,tbt=100ms --nodes 16\n"
              "  perigee plan --trace t.jsonl --nodes 4,8,16 --cache-tokens 1000000,3000000 --requests 4000 --json\n"
              "  perigee plan --draw agent:1 --nodes 8 --hosts a,b,c,d,e,f,g,h --write cluster.conf");
  sub->callback([&chosen, flags] { chosen = [flags] { return run_plan(*flags); }; });
}

} // namespace perigee::cli
