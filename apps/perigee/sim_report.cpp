// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/sim_report.hpp"

#include "apps/perigee/text_table.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace perigee::cli {

namespace {

double seconds(double ns) {
  return ns / 1e9;
}

double seconds(uint64_t ns) {
  return static_cast<double>(ns) / 1e9;
}

std::string fixed(double value, int digits = 2) {
  return fmt::format("{:.{}f}", value, digits);
}

std::string percent(double ratio) {
  return fmt::format("{:.1f} %", 100 * ratio);
}

} // namespace

sim_row row_of(const sim_plan& plan, const sim_run& run, const sim::replay_result& result) {
  auto row = sim_row{};
  row.run = run;
  row.prefill = plan.common.cluster.prefills;
  row.decode = plan.common.cluster.decodes;
  row.service = sim::summarize(result.records, plan.promised);
  row.prefill_mean_s = result.prefills == 0 ? 0 : result.prefill_s / static_cast<double>(result.prefills);
  row.moved_tokens = result.moved_tokens;
  row.replicas = result.replicas;
  row.decode_steps = result.decode_steps;
  row.messages = result.messages;
  row.timers = result.timers;
  row.virtual_s = seconds(result.virtual_ns);
  row.wall_s = result.wall_s;
  row.digest = result.digest;
  return row;
}

std::string render_sim(const std::vector<sim_row>& rows) {
  auto several_speeds = std::ranges::any_of(rows, [&](const auto& it) { return it.run.speed != rows.front().run.speed; });
  auto several_seeds = std::ranges::any_of(rows, [&](const auto& it) { return it.run.seed != rows.front().run.seed; });
  auto several_evictions = std::ranges::any_of(rows, [&](const auto& it) { return it.run.evicts != rows.front().run.evicts; });
  auto header = std::vector<std::string>{"POLICY", "ADMISSION", "MODE"};
  if (several_evictions)
    header.push_back("EVICTION");
  if (several_speeds)
    header.push_back("SPEED");
  if (several_seeds)
    header.push_back("SEED");
  for (const auto* name : {"TTFT MEAN s", "P50", "P90", "P99", "MAX", "MEAN ALL", "TBT MEAN ms", "P99", "HITS",
                           "PREFILL s", "MOVED", "REJECTED", "EFFECTIVE", "BY TOKENS", "WALL s"})
    header.push_back(name);
  auto table = text_table{header};
  for (const auto& row : rows) {
    const auto& it = row.service;
    auto cells = std::vector<std::string>{row.run.policy, row.run.admission, row.run.mode};
    if (several_evictions)
      cells.push_back(to_string(row.run.evicts));
    if (several_speeds)
      cells.push_back(fmt::format("{}", row.run.speed));
    if (several_seeds)
      cells.push_back(std::to_string(row.run.seed));
    for (const auto& cell :
         {fixed(seconds(it.ttft_ns.mean)), fixed(seconds(it.ttft_ns.p50)), fixed(seconds(it.ttft_ns.p90)),
          fixed(seconds(it.ttft_ns.p99)), fixed(seconds(it.ttft_ns.max)), fixed(seconds(it.ttft_mean_all_ns)),
          fixed(it.tbt_ns.mean / 1e6, 1), fixed(static_cast<double>(it.tbt_ns.p99) / 1e6, 1), percent(it.hit_ratio),
          fixed(row.prefill_mean_s, 3),
          percent(it.input_tokens == 0 ? 0 : row.moved_tokens / static_cast<double>(it.input_tokens)),
          std::to_string(it.rejected), percent(it.effective), percent(it.token_goodput), fixed(row.wall_s, 1)})
      cells.push_back(cell);
    table.add(std::move(cells));
  }
  return table.text();
}

boost::json::object sim_json(const sim_row& row) {
  const auto& it = row.service;
  auto refusals = boost::json::object{};
  for (const auto& [reason, count] : it.not_finished)
    refusals[to_string(reason)] = count;
  return {{"policy", row.run.policy},
          {"admission", row.run.admission},
          {"mode", row.run.mode},
          {"eviction", to_string(row.run.evicts)},
          {"prefill", row.prefill},
          {"decode", row.decode},
          {"speed", row.run.speed},
          {"seed", row.run.seed},
          {"requests", it.requests},
          {"rejected", it.rejected},
          {"not_finished", refusals},
          {"ttft_mean_s", seconds(it.ttft_ns.mean)},
          {"ttft_p50_s", seconds(it.ttft_ns.p50)},
          {"ttft_p90_s", seconds(it.ttft_ns.p90)},
          {"ttft_p99_s", seconds(it.ttft_ns.p99)},
          {"ttft_max_s", seconds(it.ttft_ns.max)},
          {"ttft_mean_all_s", seconds(it.ttft_mean_all_ns)},
          {"tbt_mean_ms", it.tbt_ns.mean / 1e6},
          {"tbt_p50_ms", static_cast<double>(it.tbt_ns.p50) / 1e6},
          {"tbt_p90_ms", static_cast<double>(it.tbt_ns.p90) / 1e6},
          {"tbt_p99_ms", static_cast<double>(it.tbt_ns.p99) / 1e6},
          {"tbt_max_ms", static_cast<double>(it.tbt_ns.max) / 1e6},
          {"hit_tokens", it.hit_tokens},
          {"hit_ratio", it.hit_ratio},
          {"prefill_mean_s", row.prefill_mean_s},
          {"moved_tokens", static_cast<uint64_t>(row.moved_tokens + 0.5)},
          {"replicas", row.replicas},
          {"effective", it.effective},
          {"token_goodput", it.token_goodput},
          {"decode_steps", row.decode_steps},
          {"messages", row.messages},
          {"timers", row.timers},
          {"virtual_s", row.virtual_s},
          {"wall_s", row.wall_s},
          {"digest", row.digest}};
}

} // namespace perigee::cli
