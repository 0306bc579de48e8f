// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/report/timeline.hpp"

#include "tests/sim/report/made_up_run.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

using namespace perigee::sim;
namespace json = boost::json;

namespace {

json::array events_of(const std::vector<run_record>& runs, timeline_options options = {}) {
  auto out = std::ostringstream{};
  write_timeline(out, runs, options);
  return json::parse(out.str()).at("traceEvents").as_array();
}

json::array of_phase(const json::array& events, std::string_view phase) {
  auto result = json::array{};
  for (const auto& event : events)
    if (event.at("ph").as_string() == json::string_view{phase.data(), phase.size()})
      result.push_back(event);
  return result;
}

double number(const json::value& event, const char* field) {
  return event.at(field).to_number<double>();
}

using track = std::pair<int64_t, int64_t>;

track track_of(const json::value& event) {
  return {event.at("pid").as_int64(), event.at("tid").as_int64()};
}

} // namespace

TEST_CASE("timeline: chunks, steps and transfers are slices on the track of their instance") {
  auto run = run_record{};
  run.name = "one \"run\"";
  run.instances = {{"prefill-0", instance_role::prefill}, {"decode-0", instance_role::decode}};
  run.requests.resize(1);
  run.requests[0].id = 7;
  run.requests[0].decode = 1;
  run.requests[0].joined_ns = 5'000'500;
  run.slices = {{slice_kind::chunk, 0, 1'000'001, 3'000'000, 7, 400, 0, 0},
                {slice_kind::hand_over, 1, 1'000'001, 4'000'000, 7, 500, 0, 0},
                {slice_kind::steps, 1, 5'000'000, 6'000'000, no_request, 3, 3, 1}};
  auto events = events_of({run});
  auto slices = of_phase(events, "X");
  REQUIRE(slices.size() == 3);
  auto chunk =
    std::ranges::find_if(slices, [](const json::value& it) { return it.at("cat").as_string() == "prefill"; });
  REQUIRE(chunk != slices.end());
  CHECK(number(*chunk, "ts") == doctest::Approx(1000.001));
  CHECK(number(*chunk, "dur") == doctest::Approx(1999.999));
  CHECK(chunk->at("args").at("tokens").as_int64() == 400);
  auto names = std::map<track, std::string>{};
  for (const auto& event : of_phase(events, "M"))
    if (event.at("name").as_string() == "thread_name")
      names[track_of(event)] = event.at("args").at("name").as_string().c_str();
  CHECK(names[track_of(*chunk)] == "prefill-0");
  CHECK(names.size() == 3);
  auto arrows = json::array{};
  for (auto phase : {"s", "t", "f"})
    for (const auto& event : of_phase(events, phase))
      arrows.push_back(event);
  REQUIRE(arrows.size() == 3);
  CHECK(names[track_of(arrows[0])] == "prefill-0");
  CHECK(names[track_of(arrows[1])] == "decode-0 in 1");
  CHECK(names[track_of(arrows[2])] == "decode-0");
  CHECK(number(arrows[2], "ts") == doctest::Approx(5000.5));
}

TEST_CASE("timeline: slices of one track never overlap, and arrows begin and end on slices") {
  auto events = events_of({made_up_run({.requests = 600}), made_up_run({.seed = 2, .requests = 300})});
  auto by_track = std::map<track, std::vector<std::pair<double, double>>>{};
  for (const auto& event : of_phase(events, "X"))
    by_track[track_of(event)].emplace_back(number(event, "ts"), number(event, "ts") + number(event, "dur"));
  CHECK(by_track.size() >= 16);
  for (auto& [where, slices] : by_track) {
    std::ranges::sort(slices);
    for (size_t i = 1; i < slices.size(); ++i)
      CHECK_UNARY(slices[i].first >= slices[i - 1].second - 1e-3);
  }
  auto arrows = std::map<std::string, std::string>{};
  for (const auto& event : events) {
    auto phase = std::string{event.at("ph").as_string()};
    if (phase != "s" && phase != "t" && phase != "f")
      continue;
    arrows[event.at("id").as_string().c_str()] += phase;
    auto at = number(event, "ts");
    CHECK_UNARY(std::ranges::any_of(by_track[track_of(event)],
                                    [&](auto slice) { return slice.first <= at + 1e-3 && at <= slice.second + 1e-3; }));
  }
  CHECK(arrows.size() > 500);
  for (const auto& [id, phases] : arrows)
    CHECK_UNARY(phases == "stf");
}

TEST_CASE("timeline: the file of a large run is bounded, and what is shown of a request is complete") {
  auto run = made_up_run({.requests = 20'000});
  CHECK(run.slices.size() > 60'000);
  auto events = events_of({run}, {4'000});
  auto slices = of_phase(events, "X");
  CHECK(slices.size() <= 4'400);
  CHECK(slices.size() >= 2'000);
  auto steps = uint64_t{0};
  auto chunks = std::map<int64_t, int>{};
  auto hand_overs = std::set<int64_t>{};
  for (const auto& slice : slices) {
    auto kind = slice.at("cat").as_string();
    if (kind == "decode")
      steps += slice.at("args").at("steps").to_number<uint64_t>();
    if (kind == "prefill")
      ++chunks[slice.at("args").at("request").as_int64()];
    if (kind == "hand-over")
      hand_overs.insert(slice.at("args").at("request").as_int64());
  }
  auto all_steps = uint64_t{0};
  for (const auto& slice : run.slices)
    all_steps += slice.steps;
  CHECK(steps == all_steps); // merged, not dropped
  CHECK(chunks.size() == hand_overs.size());
  for (auto [request, pieces] : chunks)
    CHECK_UNARY(pieces == 2);
}

TEST_CASE("timeline: rejected requests are marked with their reason") {
  auto run = made_up_run({.requests = 300, .token_ns = 3'000'000, .wait_max_ns = 5'000'000'000});
  auto rejected = std::ranges::count_if(run.requests, [](const run_request& it) { return !it.rejected.empty(); });
  auto marks = of_phase(events_of({run}), "i");
  REQUIRE(rejected > 0);
  CHECK(marks.size() == static_cast<size_t>(rejected));
  CHECK(marks[0].at("args").at("why").as_string() == "the prefill would start too late");
}

TEST_CASE("timeline: no runs and empty runs give valid files") {
  CHECK(events_of({}).empty());
  CHECK(of_phase(events_of({run_record{}}), "X").empty());
}
