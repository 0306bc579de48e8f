// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/report/html_report.hpp"

#include "actors/sim/report/svg_chart.hpp"
#include "tests/sim/report/made_up_run.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <sstream>

using namespace perigee::sim;

namespace {

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

size_t count(const std::string& text, std::string_view part) {
  auto found = size_t{0};
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size()))
    ++found;
  return found;
}

report_page small_page() {
  auto page = report_page{};
  page.title = "a page";
  page.columns = {{"TTFT mean", "s", 2, summary_column::better::low},
                  {"effective", "%", 1, summary_column::better::high}};
  page.slo_ttft_ns = 30'000'000'000;
  return page;
}

std::string html_of(const report_page& page, const std::vector<run_record>& runs) {
  auto out = std::ostringstream{};
  write_html_report(out, page, runs);
  return out.str();
}

/// What is wrong with the nesting of a page's elements; empty if nothing.
std::string nesting_fault(const std::string& html) {
  auto open = std::vector<std::string>{};
  for (auto at = html.find('<'); at != std::string::npos; at = html.find('<', at)) {
    auto end = html.find('>', at);
    if (end == std::string::npos)
      return "a tag without its end";
    auto tag = html.substr(at + 1, end - at - 1);
    at = end;
    auto name = tag.substr(0, tag.find_first_of(" \n"));
    if (name == "!doctype" || name == "meta" || tag.ends_with('/'))
      continue;
    if (!name.starts_with('/')) {
      open.push_back(name);
      if (name == "script" || name == "style")
        at = html.find("</" + name, end);
      continue;
    }
    if (open.empty() || open.back() != name.substr(1))
      return "unexpected <" + name + ">";
    open.pop_back();
  }
  return open.empty() ? "" : "<" + open.back() + "> is never closed";
}

/// Everything that would make a browser fetch something.
bool refers_outside(std::string html) {
  constexpr std::string_view svg_name = "'http://www.w3.org/2000/svg'"; // a name, not an address
  if (auto at = html.find(svg_name); at != std::string::npos)
    html.erase(at, svg_name.size());
  for (auto part : {"http:", "https:", "src=", "href=", "url(", "@import", "fetch(", "XMLHttpRequest", "<link"})
    if (contains(html, part))
      return true;
  return false;
}

std::vector<run_record> two_runs() {
  auto runs = std::vector{made_up_run({.seed = 1, .requests = 500}), made_up_run({.seed = 2, .requests = 500})};
  runs[0].summary = {1.25, 90};
  runs[1].summary = {2.5, 80};
  return runs;
}

} // namespace

TEST_CASE("html_report: a page is well formed and refers to nothing outside") {
  auto html = html_of(small_page(), two_runs());
  CHECK(nesting_fault(html) == "");
  CHECK_FALSE(refers_outside(html));
  for (auto part : {"Time to first token", "Time between tokens", "Hit ratio", "Rejects", "Waiting for prefill",
                    "prefill-3", "decode-0", "block 2", "SLO 30 s", "% busy", "(min)"})
    CHECK_MESSAGE(contains(html, part), part);
}

TEST_CASE("html_report: the best value of a column is marked, and none where all are equal") {
  auto runs = two_runs();
  auto html = html_of(small_page(), runs);
  CHECK(contains(html, "<td class=\"best\">1.25</td><td class=\"best\">90.0</td>"));
  CHECK(contains(html, "<td>2.50</td><td>80.0</td>"));
  runs[1].summary = {1.2501, NAN};
  html = html_of(small_page(), runs);
  CHECK(contains(html, "<td>1.25</td><td>90.0</td>"));
  CHECK(contains(html, "<td>1.25</td><td>-</td>"));
}

TEST_CASE("html_report: names may hold anything") {
  auto runs = two_runs();
  runs[0].name = "</script><b>\"a\" & 'b'\xff";
  runs[0].instances[0].name = "<i>";
  runs[0].hot_blocks[0].name = "<u>";
  auto page = small_page();
  page.title = "<title>&";
  page.facts = {"1 < 2"};
  page.columns[0].title = "<s>";
  auto html = html_of(page, runs);
  CHECK(nesting_fault(html) == "");
  CHECK(contains(html, "&lt;/script&gt;&lt;b&gt;&quot;a&quot; &amp; &#39;b&#39;\xef\xbf\xbd"));
  CHECK(contains(html, "<h1>&lt;title&gt;&amp;</h1>"));
  for (auto tag : {"<b>", "<i>", "<u>", "<s>"})
    CHECK_FALSE(contains(html, tag));
}

TEST_CASE("html_report: bytes that are not UTF-8 are replaced, the others kept") {
  CHECK(html_escape("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\xa6")
        == "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\xa6");
  CHECK(html_escape("a\xc3") == "a\xef\xbf\xbd");
  CHECK(html_escape("\xc3(") == "\xef\xbf\xbd(");
  CHECK(html_escape(std::string_view{"\0", 1}) == "\xef\xbf\xbd");
}

TEST_CASE("html_report: no runs, and runs without requests, give a page") {
  CHECK(nesting_fault(html_of(small_page(), {})) == "");
  auto empty = run_record{};
  empty.name = "nothing";
  empty.instances = {{"prefill-0", instance_role::prefill}};
  empty.summary = {0, 0};
  auto html = html_of(small_page(), {empty});
  CHECK(nesting_fault(html) == "");
  CHECK(contains(html, ">none<"));
  CHECK_FALSE(contains(html, "nan"));
  CHECK_FALSE(contains(html, "inf"));
}

TEST_CASE("html_report: a page's size does not grow with the number of requests") {
  auto size_of = [](uint64_t requests) {
    auto run = made_up_run({.requests = requests});
    run.summary = {1, 1};
    return html_of(small_page(), {run}).size();
  };
  auto small = size_of(1'000);
  CHECK(small < 120'000);
  CHECK(size_of(20'000) < small + small / 2);
}

TEST_CASE("html_report: charts show the first twelve runs, the table all") {
  auto runs = std::vector<run_record>{};
  for (uint64_t i = 0; i < 20; ++i) {
    runs.push_back(made_up_run({.requests = 5}));
    runs.back().name = "run number " + std::to_string(i) + ".";
    runs.back().summary = {1, static_cast<double>(i)};
  }
  auto html = html_of(small_page(), runs);
  CHECK(contains(html, "The charts show the first 12 of 20 runs."));
  CHECK(count(html, "run number 11.") > 3);
  CHECK(count(html, "run number 12.") == 1);
}

TEST_CASE("svg_chart: axes have round ticks and keep their ends") {
  auto lines = std::vector<chart_line>{{"a", 0, {{0.02, 3}, {7, 47}}, false, {}}};
  auto x = log_axis("x", quantity::seconds, x_values(lines));
  CHECK(x.low == doctest::Approx(0.01));
  CHECK(x.high == doctest::Approx(10));
  auto svg = render_chart({"t", x, value_axis("y", quantity::count, lines, 1), lines, 0, {}});
  for (auto tick : {">10 ms<", ">100 ms<", ">1 s<", ">10 s<", ">0<", ">10<", ">40<"})
    CHECK_MESSAGE(contains(svg, tick), tick);
  CHECK_FALSE(contains(svg, ">50<"));
  CHECK_FALSE(contains(svg, "-0<"));
  CHECK(contains(svg, "data-x=\"0.01,10,1,s\""));
}

TEST_CASE("svg_chart: a logarithmic axis of one or two decades has ticks at 2 and 5, too") {
  auto lines = std::vector<chart_line>{{"a", 0, {{1, 0.3}, {2, 80}}, false, {}}};
  auto few = std::vector<chart_line>{{"a", 0, {{1, 0.3}, {2, 8}}, false, {}}};
  auto axis = chart_axis{"x", quantity::count, false, 0, 3};
  CHECK_FALSE(
    contains(render_chart({"t", axis, log_axis("y", quantity::seconds, y_values(lines)), lines, 0, {}}), ">20 s<"));
  CHECK(contains(render_chart({"t", axis, log_axis("y", quantity::seconds, y_values(few)), few, 0, {}}), ">5 s<"));
}

TEST_CASE("html_report: sections stand above the charts of the runs, with their own names and intervals") {
  auto page = small_page();
  auto line = chart_line{"policy <a>", 0, {{1, 0.5}, {2, 0.9}}, false, {{0.4, 0.6}, {0.8, 1.0}}};
  auto what =
    chart{"effective", {"speed", quantity::count, false, 0, 3}, {"share", quantity::share, false, 0, 1}, {line}, 0, {}};
  page.sections = {{"By speed", "means", {"policy <a>"}, {what}}};
  auto html = html_of(page, two_runs());
  CHECK(nesting_fault(html) == "");
  CHECK(html.find("By speed") < html.find("Time to first token"));
  CHECK(count(html, "policy &lt;a&gt;") == 2);
  CHECK(count(html, "class=\"bar\"") == 2);
}

TEST_CASE("svg_chart: quantities are written as people read them") {
  CHECK(format_quantity(0.0451, quantity::seconds) == "45.1 ms");
  CHECK(format_quantity(12.34, quantity::seconds) == "12.3 s");
  CHECK(format_quantity(36'000, quantity::seconds) == "10 h");
  CHECK(format_quantity(0.5, quantity::share) == "50 %");
}
