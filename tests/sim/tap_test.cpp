// SPDX-License-Identifier: Apache-2.0
#include "actors/core/interfaces.hpp"
#include "actors/edge/tap.hpp"
#include "tests/support/testing.hpp"
#include "transport/base/status.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>

#include <algorithm>
#include <fstream>
#include <sstream>

using namespace perigee;

TEST_CASE("tap: records what comes from edges and timers, not what follows from it") {
  auto file = testing::scratch_dir() / "tap";
  {
    tap recorder{file};
    caf::actor_system_config config;
    config.profiler = &recorder;
    caf::actor_system system{config};
    auto second = system.spawn([](caf::event_based_actor* self) -> caf::behavior {
      return {[self](const cancel_move&) { self->quit(); }};
    });
    auto first = system.spawn([second](caf::event_based_actor* self) -> caf::behavior {
      return {[self](const cancel_work&) { self->delayed_send(self, std::chrono::nanoseconds{1}, atom::tick_v); },
              [self, second](atom::tick) {
                self->send(second, cancel_move{3});
                self->quit();
              }};
    });
    recorder.name(first, "prefill-0");
    recorder.name(second, "stream-0");
    caf::anon_send(first, cancel_work{258});
    first = nullptr;
    second = nullptr;
  }
  std::ostringstream text;
  text << std::ifstream{file}.rdbuf();
  auto log = text.str();
  CHECK(log.find(" edge > prefill-0 perigee::cancel_work ") != std::string::npos);
  CHECK(log.find("0000000000000102\n") != std::string::npos);
  CHECK(log.find(" timer > prefill-0 perigee::atom::tick ") != std::string::npos);
  CHECK(log.find("stream-0") == std::string::npos);
}

TEST_CASE("tap: a file that cannot be written is refused by name") {
  CHECK_THROWS_WITH_AS(tap{"/proc/nowhere/tap"}, doctest::Contains("/proc/nowhere/tap"), failure);
}
