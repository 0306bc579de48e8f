// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/sim_by_speed.hpp"

#include "actors/sim/trace/statistics.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>

namespace perigee::cli {

namespace {

using row_value = std::function<double(const sim_row&)>;

/// What tells the line of a row from the others, whatever its speed and seed.
std::string line_of(const sim_row& row, const std::vector<sim_row>& rows) {
  auto differs = [&](auto field) {
    return std::ranges::any_of(rows, [&](const sim_row& other) { return other.run.*field != rows.front().run.*field; });
  };
  auto name = row.run.policy;
  if (differs(&sim_run::admission))
    name += ", " + row.run.admission;
  if (differs(&sim_run::mode))
    name += ", " + row.run.mode;
  if (differs(&sim_run::evicts))
    name += std::string{", "} + to_string(row.run.evicts);
  return name;
}

std::vector<std::string> lines_of(const std::vector<sim_row>& rows) {
  auto names = std::vector<std::string>{};
  for (const auto& row : rows)
    if (auto name = line_of(row, rows); std::ranges::find(names, name) == names.end())
      names.push_back(std::move(name));
  return names;
}

sim::chart over_speed(const std::vector<sim_row>& rows, const std::vector<std::string>& names, std::string title,
                      const row_value& value) {
  auto result = sim::chart{};
  result.title = std::move(title);
  auto high = 0.0;
  for (size_t i = 0; i < names.size(); ++i) {
    auto by_speed = std::map<double, std::vector<double>>{};
    for (const auto& row : rows)
      if (line_of(row, rows) == names[i])
        by_speed[row.run.speed].push_back(value(row));
    auto line = sim::chart_line{names[i], i, {}, false, {}};
    for (const auto& [speed, values] : by_speed) {
      auto at = sim::mean_of(values);
      line.points.emplace_back(speed, at.mean);
      if (at.half_width > 0)
        line.intervals.emplace_back(at.mean - at.half_width, at.mean + at.half_width);
      high = std::max(high, speed);
    }
    if (line.intervals.size() != line.points.size())
      line.intervals.clear();
    result.lines.push_back(std::move(line));
  }
  result.x = {"speed (times the recorded rate)", sim::quantity::count, false, 0, high};
  return result;
}

sim::chart share_chart(sim::chart what) {
  what.y = {what.title, sim::quantity::share, false, 0, 1};
  return what;
}

sim::chart seconds_chart(sim::chart what) {
  what.y = sim::log_axis(what.title + " (logarithmic)", sim::quantity::seconds, sim::y_values(what.lines));
  return what;
}

} // namespace

std::vector<sim::report_section> sections_by_speed(const std::vector<sim_row>& rows,
                                                   const sim::service_level& promised) {
  if (std::ranges::none_of(rows, [&](const sim_row& row) { return row.run.speed != rows.front().run.speed; }))
    return {};
  auto names = lines_of(rows);
  auto result = sim::report_section{};
  result.title = "By speed";
  result.text =
    fmt::format("Effective: first token within {}, mean of the longest 10 % of token gaps within {}. Bars: 95 % "
                "confidence of the mean over seeds, where there are several.",
                sim::format_quantity(static_cast<double>(promised.ttft_ns) / 1e9, sim::quantity::seconds),
                sim::format_quantity(static_cast<double>(promised.tbt_ns) / 1e9, sim::quantity::seconds));
  auto add = [&](std::string title, const row_value& value, auto&& finish) {
    result.charts.push_back(finish(over_speed(rows, names, std::move(title), value)));
  };
  add(
    "mean TTFT", [](const sim_row& row) { return row.service.ttft_ns.mean / 1e9; }, seconds_chart);
  add(
    "p99 of TTFT", [](const sim_row& row) { return static_cast<double>(row.service.ttft_ns.p99) / 1e9; },
    seconds_chart);
  add(
    "effective requests", [](const sim_row& row) { return row.service.effective; }, share_chart);
  add(
    "input tokens of effective requests", [](const sim_row& row) { return row.service.token_goodput; }, share_chart);
  result.names = std::move(names);
  return {std::move(result)};
}

} // namespace perigee::cli
