// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/sim/report/run_series.hpp"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace perigee::sim {

/// What the values of an axis are: how they are written on it and in the tooltip.
enum class quantity : uint8_t {
  seconds, ///< written in ms, s or min, as fits
  share,   ///< 0 to 1, written in per cent
  count,
};

/// An axis from `low` to `high`. Logarithmic ones need `low` > 0.
struct chart_axis {
  std::string title; ///< with the unit, where the numbers do not carry it
  quantity unit = quantity::count;
  bool logarithmic = false;
  double low = 0;
  double high = 1;
};

/// One line of a chart. Lines of the same style are of the same run, in all charts of a page.
struct chart_line {
  std::string name;
  size_t style = 0;
  curve points;       ///< x rising
  bool steps = false; ///< a value holds until the next point
  curve intervals;    ///< for each point, the ends of an interval around its y; may be empty
};

struct chart {
  std::string title; ///< for those who cannot see it
  chart_axis x;
  chart_axis y;
  std::vector<chart_line> lines;
  double marked_x = 0; ///< a vertical line there, such as an SLO; none if outside the axis
  std::string marked_name;
};

/// Classes of the page's style sheet for a line: seven colours, each with three dashes; then they repeat.
std::string line_classes(size_t style);

/// An <svg> element of the page's style sheet. Points outside the axes are drawn at their edge.
std::string render_chart(const chart& what);

/// Values by row and part of time, as a field of shaded cells.
struct heat_map {
  std::string title;
  std::vector<std::string> rows;
  std::vector<std::string> notes; ///< one a row, to its right
  std::vector<std::vector<double>> values;
  double high = 1; ///< of the darkest shade
  double end_s = 1;
};

std::string render_heat_map(const heat_map& what);

/// An axis over time from 0 to `end_s`.
chart_axis time_axis(double end_s);

/// An axis that begins at 0 and has room for all values of the lines; `high_min` at least, which is
/// above 0.
chart_axis value_axis(std::string title, quantity unit, const std::vector<chart_line>& lines, double high_min);

/// A logarithmic axis around all values above 0, to full powers of ten.
chart_axis log_axis(std::string title, quantity unit, std::span<const double> values);

/// All x, or all y, of some lines.
std::vector<double> x_values(const std::vector<chart_line>& lines);
std::vector<double> y_values(const std::vector<chart_line>& lines);

/// A number as a person reads it: "12.3 s", "45 ms", "7 min", "83 %", "1,200".
std::string format_quantity(double value, quantity unit);

/// Text for HTML, in elements and in quoted attributes. Bytes that are not UTF-8 become U+FFFD.
std::string html_escape(std::string_view text);

} // namespace perigee::sim
