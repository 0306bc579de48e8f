// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/restart_schedule.hpp"
#include "tests/support/testing.hpp"

#include <vector>

using perigee::cli::restart_schedule;
using namespace std::chrono_literals;

namespace {

constexpr auto start = restart_schedule::time_point{} + 1h;

} // namespace

TEST_CASE("restart_schedule: each early death doubles the wait up to the longest") {
  auto schedule = restart_schedule{{.first = 100ms, .longest = 500ms, .settled = 10s, .starts_per_minute = 100}};
  auto now = start;
  for (auto wait : {100ms, 200ms, 400ms, 500ms, 500ms}) {
    schedule.started(now);
    CHECK(schedule.next_start(now) == now + wait);
    now += wait;
  }
}

TEST_CASE("restart_schedule: a process that lived long starts over with the first wait") {
  auto schedule = restart_schedule{{.first = 100ms, .longest = 8s, .settled = 10s, .starts_per_minute = 100}};
  schedule.started(start);
  CHECK(schedule.next_start(start + 1s) == start + 1s + 100ms);
  schedule.started(start + 2s);
  CHECK(schedule.next_start(start + 3s) == start + 3s + 200ms);
  schedule.started(start + 4s);
  CHECK(schedule.next_start(start + 14s) == start + 14s + 100ms);
}

TEST_CASE("restart_schedule: no minute sees more starts than allowed, however the deaths fall") {
  auto schedule = restart_schedule{{.first = 1ms, .longest = 1ms, .settled = 10s, .starts_per_minute = 5}};
  auto starts = std::vector<restart_schedule::time_point>{};
  auto now = start;
  for (int i = 0; i < 40; ++i) {
    schedule.started(now);
    starts.push_back(now);
    if (i >= 5)
      CHECK(now - starts[starts.size() - 6] >= 1min);
    now = schedule.next_start(now + 10ms);
  }
}
