// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/report/html_report.hpp"

#include "actors/sim/report/page_assets.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ostream>

namespace perigee::sim {

namespace {

constexpr size_t time_parts = 240;
constexpr size_t ratio_parts = 60; // shares of few requests jump
constexpr size_t curve_points_max = 240;
constexpr size_t blocks_charted_max = 8;

std::string cell(double value, int decimals) {
  return std::isfinite(value) ? fmt::format("{:.{}f}", value, decimals) : std::string{"-"};
}

/// The best value of a column as it is printed; none where all are equal.
std::string best_cell(std::span<const run_record> runs, size_t column, const summary_column& what) {
  if (what.best == summary_column::better::neither)
    return {};
  auto values = std::vector<double>{};
  for (const auto& run : runs)
    if (std::isfinite(run.summary.at(column)))
      values.push_back(run.summary.at(column));
  if (values.empty())
    return {};
  auto [low, high] = std::ranges::minmax(values);
  auto texts = std::pair{cell(low, what.decimals), cell(high, what.decimals)};
  if (texts.first == texts.second)
    return {};
  return what.best == summary_column::better::low ? texts.first : texts.second;
}

void write_table(std::ostream& out, const report_page& page, std::span<const run_record> runs) {
  out << "<div class=\"card wide\"><table><thead><tr><th>run</th>";
  auto best = std::vector<std::string>{};
  for (size_t c = 0; c < page.columns.size(); ++c) {
    out << "<th>" << html_escape(page.columns[c].title) << "<small>" << html_escape(page.columns[c].unit)
        << "</small></th>";
    best.push_back(best_cell(runs, c, page.columns[c]));
  }
  out << "</tr></thead><tbody>\n";
  for (const auto& run : runs) {
    out << "<tr><td>" << html_escape(run.name) << "</td>";
    for (size_t c = 0; c < page.columns.size(); ++c) {
      auto text = cell(run.summary.at(c), page.columns[c].decimals);
      out << (text == best[c] ? "<td class=\"best\">" : "<td>") << text << "</td>";
    }
    out << "</tr>\n";
  }
  out << "</tbody></table></div>\n";
}

/// A short piece of a line of this style.
std::string key_of(size_t style, std::string_view id) {
  return fmt::format("<svg class=\"key\"{} viewBox=\"0 0 26 8\"><path class=\"{}\" d=\"M0 4H26\"/></svg>", id,
                     line_classes(style));
}

void write_legend(std::ostream& out, std::span<const std::string> names) {
  out << "<div class=\"legend\">";
  for (size_t i = 0; i < names.size(); ++i)
    out << fmt::format("<button type=\"button\" aria-pressed=\"true\" data-run=\"{}\">{}{}</button>", i,
                       key_of(i, fmt::format(" id=\"key{}\"", i)), html_escape(names[i]));
  out << "</div>\n";
}

void write_card(std::ostream& out, std::string_view title, std::string_view text, const chart& what) {
  out << "<div class=\"card\"><h3>" << html_escape(title) << "</h3>";
  if (!text.empty())
    out << "<p>" << html_escape(text) << "</p>";
  out << render_chart(what) << "</div>\n";
}

/// Which line is which, where it cannot be clicked.
void write_keys(std::ostream& out, std::span<const std::string> names) {
  out << "<div class=\"keys\">";
  for (size_t i = 0; i < names.size(); ++i)
    out << "<span>" << key_of(i, {}) << html_escape(names[i]) << "</span>";
  out << "</div>";
}

void write_sections(std::ostream& out, const report_page& page) {
  for (const auto& section : page.sections) {
    out << "<h2>" << html_escape(section.title) << "</h2>";
    if (!section.text.empty())
      out << "<p>" << html_escape(section.text) << "</p>";
    write_keys(out, section.names);
    out << "<div class=\"cards\">\n";
    for (const auto& what : section.charts)
      write_card(out, what.title, {}, what);
    out << "</div>\n";
  }
}

std::vector<chart_line> lines_of(std::span<const run_record> runs, auto&& points) {
  auto lines = std::vector<chart_line>{};
  for (size_t i = 0; i < runs.size(); ++i)
    lines.push_back({runs[i].name, i, points(runs[i]), false, {}});
  return lines;
}

void write_distribution(std::ostream& out, std::span<const run_record> runs, uint64_t run_request::*value,
                        std::string_view title, std::string_view text, uint64_t slo_ns) {
  auto what = chart{};
  what.title = title;
  what.lines =
    lines_of(runs, [&](const run_record& run) { return distribution_curve(run.requests, value, curve_points_max); });
  what.x = log_axis(fmt::format("{} (logarithmic)", title), quantity::seconds, x_values(what.lines));
  what.y = {"share of all requests", quantity::share, false, 0, 1};
  what.marked_x = static_cast<double>(slo_ns) / 1e9;
  what.marked_name = slo_ns == 0 ? "" : fmt::format("SLO {}", format_quantity(what.marked_x, quantity::seconds));
  write_card(out, title, text, what);
}

void write_over_time(std::ostream& out, std::string_view title, std::string_view text, chart_axis y, double end_s,
                     std::vector<chart_line> lines) {
  auto what = chart{std::string{title}, time_axis(end_s), std::move(y), std::move(lines), 0, {}};
  write_card(out, title, text, what);
}

curve curve_of(const std::vector<double>& parts, const time_grid& grid) {
  auto result = curve{};
  for (size_t part = 0; part < parts.size(); ++part)
    result.emplace_back(grid.middle_s(part), parts[part]);
  return result;
}

void write_run_charts(std::ostream& out, const report_page& page, std::span<const run_record> runs,
                      const time_grid& grid) {
  auto end_s = static_cast<double>(grid.end_ns) / 1e9;
  out << "<h2>Latency</h2><div class=\"cards by-run\">\n";
  write_distribution(out, runs, &run_request::ttft_ns, "Time to first token",
                     "Share of all requests whose first token came within this time; what was rejected never comes.",
                     page.slo_ttft_ns);
  write_distribution(out, runs, &run_request::tbt_ns, "Time between tokens",
                     "Of each request the mean of its longest 10 % of gaps between tokens.", page.slo_tbt_ns);
  out << "</div>\n<h2>Over time</h2><div class=\"cards by-run\">\n";
  auto waiting = lines_of(runs, [&](const run_record& run) {
    return curve_of(mean_present(run.requests, &run_request::arrival_ns, &run_request::prefill_begin_ns, grid), grid);
  });
  auto waiting_axis = value_axis("requests waiting", quantity::count, waiting, 1);
  write_over_time(out, "Waiting for prefill",
                  "Requests between arrival and the start of their prefill, in the whole cluster.", waiting_axis, end_s,
                  std::move(waiting));
  auto decoding = lines_of(runs, [&](const run_record& run) {
    return curve_of(mean_present(run.requests, &run_request::joined_ns, &run_request::end_ns, grid), grid);
  });
  auto decoding_axis = value_axis("requests decoding", quantity::count, decoding, 1);
  write_over_time(out, "Decoding", "Requests in the batches of all decode instances.", decoding_axis, end_s,
                  std::move(decoding));
  auto coarse = time_grid{grid.end_ns, ratio_parts};
  auto hits = lines_of(runs, [&](const run_record& run) { return hit_ratio_curve(run.requests, coarse); });
  write_over_time(out, "Hit ratio", "Reused share of the input tokens, by arrival.",
                  {"reused share of input tokens", quantity::share, false, 0, 1}, end_s, std::move(hits));
  auto rejects = lines_of(runs, [&](const run_record& run) { return reject_curve(run.requests, coarse); });
  auto is_rejected = [](const run_request& request) { return !request.rejected.empty(); };
  if (std::ranges::none_of(runs, [&](const run_record& run) { return std::ranges::any_of(run.requests, is_rejected); }))
    for (auto& line : rejects)
      line.points.clear();
  auto rejects_axis = value_axis("rejects per minute", quantity::count, rejects, 1);
  write_over_time(out, "Rejects", "Requests refused, by arrival.", rejects_axis, end_s, std::move(rejects));
  out << "</div>\n";
}

void write_load(std::ostream& out, const run_record& run, instance_role role, const time_grid& grid) {
  auto map = heat_map{};
  map.end_s = static_cast<double>(grid.end_ns) / 1e9;
  map.high = 0;
  for (uint32_t i = 0; i < run.instances.size(); ++i) {
    if (run.instances[i].role != role && !took_part(run, i, role))
      continue;
    map.rows.push_back(run.instances[i].name);
    map.notes.push_back(fmt::format("{:.0f} % busy", 100 * busy_share(run, i, role)));
    map.values.push_back(mean_present_at(run, i, role, grid));
    map.high = std::max(map.high, *std::ranges::max_element(map.values.back()));
  }
  if (map.rows.empty())
    return;
  map.high = std::max(std::ceil(map.high), 1.0);
  auto what = role == instance_role::prefill ? "waiting or computing" : "decoding";
  map.title = fmt::format("requests {} at each instance", what);
  out << "<p>" << map.title << "</p><div class=\"scale\">0";
  for (int level = 1; level <= 9; ++level)
    out << fmt::format("<i style=\"opacity:{:.2f}\"></i>", level == 9 ? 1.0 : 0.11 * level - 0.01);
  out << fmt::format("{:.0f}</div>", map.high) << render_heat_map(map);
}

void write_replicas(std::ostream& out, const run_record& run, double end_s) {
  auto lines = std::vector<chart_line>{};
  for (const auto& block : run.hot_blocks) {
    if (lines.size() == blocks_charted_max)
      break;
    auto points = curve{};
    auto stride = block.replicas.size() / curve_points_max + 1;
    for (size_t i = 0; i < block.replicas.size(); i += stride)
      points.emplace_back(static_cast<double>(block.replicas[i].first) / 1e9, block.replicas[i].second);
    if (!points.empty())
      points.emplace_back(end_s, block.replicas.back().second);
    lines.push_back({block.name, lines.size(), std::move(points), true, {}});
  }
  if (lines.empty())
    return;
  auto what = chart{"copies of the most used blocks", time_axis(end_s), {}, std::move(lines), 0, {}};
  what.y = value_axis("copies in the cluster", quantity::count, what.lines, 1);
  out << "<p>caches that hold each of the most used blocks</p>";
  auto names = std::vector<std::string>{};
  for (const auto& line : what.lines)
    names.push_back(line.name);
  write_keys(out, names);
  out << "<div class=\"one\">" << render_chart(what) << "</div>";
}

void write_instances(std::ostream& out, std::span<const run_record> runs, const time_grid& grid) {
  auto end_s = static_cast<double>(grid.end_ns) / 1e9;
  out << "<h2>Instances</h2>\n";
  for (const auto& run : runs) {
    out << "<details class=\"card\"" << (&run == runs.data() ? " open" : "") << "><summary>" << html_escape(run.name)
        << "</summary>";
    write_load(out, run, instance_role::prefill, grid);
    write_load(out, run, instance_role::decode, grid);
    write_replicas(out, run, end_s);
    out << "</details>\n";
  }
}

void begin_page(std::ostream& out, const report_page& page) {
  out << "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
         "content=\"width=device-width,initial-scale=1\"><title>"
      << html_escape(page.title) << "</title><style>" << page_style() << "</style></head><body><main>\n<h1>"
      << html_escape(page.title) << "</h1><ul class=\"facts\">";
  for (const auto& fact : page.facts)
    out << "<li>" << html_escape(fact) << "</li>";
  out << "</ul>\n";
}

void end_page(std::ostream& out) {
  out << "</main><div id=\"tip\"></div><script>" << page_script() << "</script></body></html>\n";
}

} // namespace

void write_html_report(std::ostream& out, const report_page& page, std::span<const run_record> runs) {
  begin_page(out, page);
  out << "<h2>Runs</h2>\n";
  write_table(out, page, runs);
  write_sections(out, page);
  auto charted = runs.first(std::min(runs.size(), charted_runs_max));
  if (charted.size() < runs.size())
    out << fmt::format("<p>The charts show the first {} of {} runs.</p>\n", charted.size(), runs.size());
  auto names = std::vector<std::string>{};
  for (const auto& run : charted)
    names.push_back(run.name);
  write_legend(out, names);
  auto grid = grid_of(charted, time_parts);
  write_run_charts(out, page, charted, grid);
  write_instances(out, charted, grid);
  end_page(out);
}

} // namespace perigee::sim
