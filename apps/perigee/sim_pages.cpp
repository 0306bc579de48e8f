// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/sim_pages.hpp"

#include "actors/sim/report/html_report.hpp"
#include "actors/sim/report/timeline.hpp"
#include "apps/perigee/sim_by_speed.hpp"
#include "transport/base/status.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace perigee::cli {

namespace {

using better = sim::summary_column::better;

std::vector<sim::summary_column> columns() {
  return {{"TTFT mean", "s", 2, better::low},
          {"p50", "s", 2, better::low},
          {"p90", "s", 2, better::low},
          {"p99", "s", 2, better::low},
          {"mean of all", "s, rejects: SLO", 2, better::low},
          {"TBT mean", "ms", 1, better::low},
          {"p99", "ms", 1, better::low},
          {"hits", "% of tokens", 1, better::high},
          {"prefill", "s a request", 3, better::low},
          {"moved", "% of tokens", 1, better::neither},
          {"rejected", "requests", 0, better::low},
          {"effective", "%", 1, better::high},
          {"goodput", "% of tokens", 1, better::high}};
}

std::vector<double> values(const sim_row& row) {
  const auto& it = row.service;
  auto ns = [](auto value) { return static_cast<double>(value); };
  return {it.ttft_ns.mean / 1e9,     ns(it.ttft_ns.p50) / 1e9,
          ns(it.ttft_ns.p90) / 1e9,  ns(it.ttft_ns.p99) / 1e9,
          it.ttft_mean_all_ns / 1e9, it.tbt_ns.mean / 1e6,
          ns(it.tbt_ns.p99) / 1e6,   100 * it.hit_ratio,
          row.prefill_mean_s,        it.input_tokens == 0 ? 0 : 100 * row.moved_tokens / ns(it.input_tokens),
          ns(it.rejected),           100 * it.effective,
          100 * it.token_goodput};
}

/// What tells a run from the others of its page.
std::string name_of(const sim_run& run, const std::vector<sim_row>& rows) {
  auto differs = [&](auto field) {
    return std::ranges::any_of(rows, [&](const sim_row& row) { return row.run.*field != rows.front().run.*field; });
  };
  auto name = run.policy;
  if (differs(&sim_run::admission))
    name += ", " + run.admission;
  if (differs(&sim_run::mode))
    name += ", " + run.mode;
  if (differs(&sim_run::evicts))
    name += fmt::format(", {}", to_string(run.evicts));
  if (differs(&sim_run::speed))
    name += fmt::format(", {}x", run.speed);
  if (differs(&sim_run::seed))
    name += fmt::format(", seed {}", run.seed);
  return name;
}

} // namespace

sim_pages::sim_pages(const std::string& html, const std::string& timeline)
  : html_(open("--html", html)), timeline_(open("--timeline", timeline)) {}

std::optional<sim_pages::file> sim_pages::open(const std::string& flag, const std::string& path) {
  if (path.empty())
    return std::nullopt;
  auto result = file{flag, path, std::ofstream{path, std::ios::binary}};
  if (!result.out)
    throw failure(errc::io_error, fmt::format("{}: {} cannot be written ({})", flag, path, std::strerror(errno)));
  return result;
}

void sim_pages::close(file& what) {
  what.out.close();
  if (!what.out)
    throw failure(errc::io_error,
                  fmt::format("{}: {} could not be written to its end; is the disk full?", what.flag, what.path));
}

void sim_pages::write(const sim_plan& plan, const std::vector<sim_row>& rows, const std::vector<std::string>& facts) {
  for (size_t i = 0; i < records_.size(); ++i) {
    records_[i].name = name_of(rows.at(i).run, rows);
    records_[i].summary = values(rows[i]);
  }
  if (html_) {
    auto page = sim::report_page{
      "perigee sim",       facts, columns(), sections_by_speed(rows, plan.promised), plan.promised.ttft_ns,
      plan.promised.tbt_ns};
    sim::write_html_report(html_->out, page, records_);
    close(*html_);
  }
  if (timeline_) {
    sim::write_timeline(timeline_->out, records_);
    close(*timeline_);
  }
}

} // namespace perigee::cli
