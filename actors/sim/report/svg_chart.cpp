// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/report/svg_chart.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

namespace perigee::sim {

namespace {

constexpr double chart_width = 640;
constexpr double chart_height = 300;
constexpr double left = 62;
constexpr double right = 18;
constexpr double top = 14;
constexpr double bottom = 46;
constexpr size_t colours = 7;

constexpr double heat_left = 86;
constexpr double heat_right = 64;
constexpr double heat_row = 15;
constexpr size_t heat_levels = 9; // beside empty

struct tick {
  double value;
  std::string text;
};

/// 1, 2 or 5 times a power of ten, at least `least`, which is above 0.
double nice_step(double least) {
  auto power = std::pow(10.0, std::floor(std::log10(least)));
  for (auto factor : {1.0, 2.0, 5.0})
    if (factor * power >= least * 0.999)
      return factor * power;
  return 10 * power;
}

struct time_unit {
  double seconds;
  std::string_view name;
};

time_unit unit_of_time(double end_s) {
  if (end_s < 180)
    return {1, "s"};
  return end_s < 3 * 3600 ? time_unit{60, "min"} : time_unit{3600, "h"};
}

std::string trimmed(double value) {
  return fmt::format("{:.6g}", value);
}

std::vector<tick> linear_ticks(const chart_axis& axis, double unit, int wanted) {
  auto result = std::vector<tick>{};
  auto step = nice_step((axis.high - axis.low) / unit / wanted) * unit;
  for (auto i = std::ceil(axis.low / step - 1e-9); i * step <= axis.high * (1 + 1e-9); ++i)
    result.push_back({i * step + 0.0, trimmed(i * step / unit + 0.0)}); // + 0.0 makes 0 of -0
  return result;
}

std::vector<tick> ticks_of(const chart_axis& axis, int wanted) {
  if (axis.logarithmic) {
    auto result = std::vector<tick>{};
    auto few = axis.high / axis.low < 150; // then 2 and 5 have room, too
    for (auto i = std::round(std::log10(axis.low)); i <= std::log10(axis.high) + 1e-9; ++i)
      for (auto factor : {1.0, 2.0, 5.0})
        if (auto value = factor * std::pow(10.0, i); (factor == 1 || few) && value <= axis.high * 1.001)
          result.push_back({value, format_quantity(value, axis.unit)});
    return result;
  }
  if (axis.unit == quantity::seconds)
    return linear_ticks(axis, unit_of_time(axis.high).seconds, wanted);
  auto result = linear_ticks(axis, 1, wanted);
  if (axis.unit == quantity::share)
    for (auto& mark : result)
      mark.text = trimmed(mark.value * 100) + " %";
  return result;
}

/// 0 to 1 along an axis.
double along(const chart_axis& axis, double value) {
  if (axis.logarithmic)
    return std::clamp(std::log(std::max(value, axis.low) / axis.low) / std::log(axis.high / axis.low), 0.0, 1.0);
  return std::clamp((value - axis.low) / (axis.high - axis.low), 0.0, 1.0);
}

double x_of(const chart& what, double value) {
  return left + along(what.x, value) * (chart_width - left - right);
}

double y_of(const chart& what, double value) {
  return chart_height - bottom - along(what.y, value) * (chart_height - top - bottom);
}

/// What the script needs to turn places back into values.
std::string axis_data(std::string_view name, const chart_axis& axis) {
  static constexpr std::array<std::string_view, 3> units = {"s", "%", "n"};
  return fmt::format(" data-{}=\"{:.9g},{:.9g},{},{}\"", name, axis.low, axis.high, axis.logarithmic ? 1 : 0,
                     units.at(static_cast<size_t>(axis.unit)));
}

void add_axes(std::string& out, const chart& what) {
  auto floor = chart_height - bottom;
  for (const auto& mark : ticks_of(what.y, 5)) {
    auto y = y_of(what, mark.value);
    out += fmt::format(
      "<path class=\"grid\" d=\"M{:.1f} {:.1f}H{:.1f}\"/><text x=\"{:.1f}\" y=\"{:.1f}\" class=\"end\">{}</text>", left,
      y, chart_width - right, left - 6, y + 4, html_escape(mark.text));
  }
  for (const auto& mark : ticks_of(what.x, 8)) {
    auto x = x_of(what, mark.value);
    out += fmt::format(
      "<path class=\"grid\" d=\"M{:.1f} {:.1f}V{:.1f}\"/><text x=\"{:.1f}\" y=\"{:.1f}\" class=\"mid\">{}</text>", x,
      top, floor, x, floor + 17, html_escape(mark.text));
  }
  out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"mid title\">{}</text>", (left + chart_width - right) / 2,
                     chart_height - 8, html_escape(what.x.title));
  out += fmt::format("<text transform=\"translate(14 {:.1f}) rotate(-90)\" class=\"mid title\">{}</text>",
                     (top + floor) / 2, html_escape(what.y.title));
}

void add_line(std::string& out, const chart& what, const chart_line& line) {
  auto path = std::string{};
  auto last_y = 0.0;
  for (auto [value_x, value_y] : line.points) {
    auto x = x_of(what, value_x);
    auto y = y_of(what, value_y);
    if (path.empty())
      path = fmt::format("M{:.1f} {:.1f}", x, y);
    else if (line.steps)
      path += fmt::format("L{:.1f} {:.1f}L{:.1f} {:.1f}", x, last_y, x, y);
    else
      path += fmt::format("L{:.1f} {:.1f}", x, y);
    last_y = y;
  }
  out += fmt::format("<g class=\"line r{} {}\" data-key=\"{}\" data-name=\"{}\">", line.style, line_classes(line.style),
                     line.style, html_escape(line.name));
  for (size_t i = 0; i < line.intervals.size() && i < line.points.size(); ++i)
    out += fmt::format("<path class=\"bar\" d=\"M{:.1f} {:.1f}V{:.1f}\"/>", x_of(what, line.points[i].first),
                       y_of(what, line.intervals[i].first), y_of(what, line.intervals[i].second));
  if (!path.empty())
    out += fmt::format("<path class=\"curve\" d=\"{}\"/>", path);
  out += "</g>";
}

/// Level of a value: 0 is left empty.
size_t level_of(double value, double high) {
  if (value <= 0 || high <= 0)
    return 0;
  auto level = 1 + static_cast<size_t>(value / high * static_cast<double>(heat_levels));
  return std::min(level, heat_levels);
}

} // namespace

std::string line_classes(size_t style) {
  return fmt::format("c{} d{}", style % colours, style / colours % 3);
}

std::string format_quantity(double value, quantity unit) {
  if (unit == quantity::share)
    return fmt::format("{:.3g} %", value * 100);
  if (unit == quantity::count)
    return fmt::format("{:.4g}", value);
  if (value < 1)
    return fmt::format("{:.3g} ms", value * 1000);
  if (value < 1000)
    return fmt::format("{:.3g} s", value);
  return value < 10'000 ? fmt::format("{:.0f} s", value) : fmt::format("{:.3g} h", value / 3600);
}

std::string html_escape(std::string_view text) {
  auto out = std::string{};
  for (size_t i = 0; i < text.size(); ++i) {
    auto letter = static_cast<unsigned char>(text[i]);
    switch (letter) {
    case '&': out += "&amp;"; continue;
    case '<': out += "&lt;"; continue;
    case '>': out += "&gt;"; continue;
    case '"': out += "&quot;"; continue;
    case '\'': out += "&#39;"; continue;
    default: break;
    }
    auto length = letter < 0x80   ? 1u
                  : letter < 0xc2 ? 0u
                  : letter < 0xe0 ? 2u
                  : letter < 0xf0 ? 3u
                  : letter < 0xf5 ? 4u
                                  : 0u;
    auto whole = length > 0 && i + length <= text.size();
    for (size_t k = 1; whole && k < length; ++k)
      whole = (static_cast<unsigned char>(text[i + k]) & 0xc0) == 0x80;
    auto is_control = letter < 0x20 && letter != '\n' && letter != '\t';
    if (!whole || is_control) {
      out += "\xef\xbf\xbd";
      continue;
    }
    out += text.substr(i, length);
    i += length - 1;
  }
  return out;
}

chart_axis time_axis(double end_s) {
  auto unit = unit_of_time(end_s);
  return {fmt::format("time since the start of the traffic ({})", unit.name), quantity::seconds, false, 0,
          std::max(end_s, 1e-9)};
}

chart_axis value_axis(std::string title, quantity unit, const std::vector<chart_line>& lines, double high_min) {
  auto high = high_min;
  for (const auto& line : lines)
    for (auto [x, y] : line.points)
      high = std::max(high, y);
  if (unit == quantity::seconds)
    title += fmt::format(" ({})", unit_of_time(high).name);
  return {std::move(title), unit, false, 0, high * 1.03};
}

std::vector<double> x_values(const std::vector<chart_line>& lines) {
  auto result = std::vector<double>{};
  for (const auto& line : lines)
    for (auto [x, y] : line.points)
      result.push_back(x);
  return result;
}

std::vector<double> y_values(const std::vector<chart_line>& lines) {
  auto result = std::vector<double>{};
  for (const auto& line : lines)
    for (auto [x, y] : line.points)
      result.push_back(y);
  return result;
}

chart_axis log_axis(std::string title, quantity unit, std::span<const double> values) {
  auto low = 0.0;
  auto high = 0.0;
  for (auto value : values) {
    if (value <= 0)
      continue;
    low = low == 0 ? value : std::min(low, value);
    high = std::max(high, value);
  }
  if (low == 0)
    return {std::move(title), unit, true, 0.1, 10};
  auto from = std::floor(std::log10(low) + 1e-9);
  auto to = std::max(std::ceil(std::log10(high) - 1e-9), from + 1);
  return {std::move(title), unit, true, std::pow(10.0, from), std::pow(10.0, to)};
}

std::string render_chart(const chart& what) {
  auto out = fmt::format(
    "<svg class=\"chart\" role=\"img\" aria-label=\"{}\" viewBox=\"0 0 {} {}\" data-box=\"{},{},{},{}\"{}{}>",
    html_escape(what.title), chart_width, chart_height, left, top, chart_width - right, chart_height - bottom,
    axis_data("x", what.x), axis_data("y", what.y));
  add_axes(out, what);
  if (what.marked_x > what.x.low && what.marked_x < what.x.high) {
    auto x = x_of(what, what.marked_x);
    out += fmt::format(
      "<path class=\"mark\" d=\"M{0:.1f} {1}V{2}\"/><text x=\"{3:.1f}\" y=\"{4}\" class=\"end mark-name\">{5}</text>",
      x, top, chart_height - bottom, x - 5, chart_height - bottom - 7, html_escape(what.marked_name));
  }
  for (const auto& line : what.lines)
    add_line(out, what, line);
  auto empty = std::ranges::all_of(what.lines, [](const chart_line& line) { return line.points.empty(); });
  if (empty)
    out += fmt::format("<text x=\"{}\" y=\"{}\" class=\"mid none\">none</text>", (left + chart_width - right) / 2,
                       (top + chart_height - bottom) / 2);
  return out + "</svg>";
}

std::string render_heat_map(const heat_map& what) {
  auto height = top + heat_row * static_cast<double>(what.rows.size()) + bottom;
  auto width = chart_width * 2;
  auto cells = std::array<std::string, heat_levels + 1>{};
  auto levels = std::string{};
  auto labels = std::string{};
  auto floor = height - bottom;
  auto inner = width - heat_left - heat_right;
  for (size_t row = 0; row < what.rows.size(); ++row) {
    const auto& values = what.values.at(row);
    auto y = top + heat_row * static_cast<double>(row);
    auto step = inner / static_cast<double>(std::max<size_t>(values.size(), 1));
    levels += row == 0 ? "" : ",";
    for (size_t i = 0; i < values.size();) {
      auto level = level_of(values[i], what.high);
      auto begin = i;
      for (; i < values.size() && level_of(values[i], what.high) == level; ++i)
        levels += static_cast<char>('0' + level);
      cells.at(level) +=
        fmt::format("M{:.1f} {:.1f}h{:.1f}v{:.0f}h{:.1f}z", heat_left + step * static_cast<double>(begin), y + 1,
                    step * static_cast<double>(i - begin), heat_row - 2, -step * static_cast<double>(i - begin));
    }
    labels +=
      fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"end\">{}</text><text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>",
                  heat_left - 6, y + heat_row - 4, html_escape(what.rows[row]), width - heat_right + 6,
                  y + heat_row - 4, html_escape(what.notes.at(row)));
  }
  auto out = fmt::format(
    "<svg class=\"heat\" role=\"img\" aria-label=\"{}\" viewBox=\"0 0 {} {}\" data-box=\"{},{},{},{}\" "
    "data-high=\"{:.4g}\" data-end=\"{:.4g}\" data-levels=\"{}\">",
    html_escape(what.title), width, height, heat_left, top, width - heat_right, floor, what.high, what.end_s, levels);
  for (size_t level = 1; level <= heat_levels; ++level)
    if (!cells.at(level).empty())
      out += fmt::format("<path class=\"h{}\" d=\"{}\"/>", level, cells.at(level));
  auto axis = time_axis(what.end_s);
  for (const auto& mark : ticks_of(axis, 12))
    out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"mid\">{}</text>",
                       heat_left + along(axis, mark.value) * inner, floor + 16, mark.text);
  out += labels;
  out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"mid title\">{}</text>", heat_left + inner / 2,
                     height - 10, html_escape(axis.title));
  return out + "</svg>";
}

} // namespace perigee::sim
