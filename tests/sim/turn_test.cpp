// SPDX-License-Identifier: Apache-2.0
#include "actors/core/interfaces.hpp"
#include "actors/sim/world.hpp"

#include <caf/event_based_actor.hpp>
#include <caf/send.hpp>

#include <doctest/doctest.h>

#include <stdexcept>
#include <string>
#include <vector>

using namespace perigee;

namespace {

report_ack numbered(uint64_t number) {
  return {{}, 0, number};
}

/// Notes the numbers that it gets, in order.
caf::behavior noting(std::vector<uint64_t>& seen) {
  return {[&seen](const report_ack& what) { seen.push_back(what.sequence); },
          [&seen](uint64_t what) { seen.push_back(what); }};
}

} // namespace

TEST_CASE("turn: own messages and those of CAF's types keep their order") {
  for (uint64_t in_a_row : {1, 2, 300}) {
    sim::world home{{.messages_per_turn = in_a_row}};
    auto seen = std::vector<uint64_t>{};
    auto who = home.spawn("noting", [&](caf::event_based_actor*) { return noting(seen); });
    for (uint64_t number = 0; number < 9; ++number)
      if (number % 3 == 1)
        caf::anon_send(who, number);
      else
        caf::anon_send(who, numbered(number));
    home.run_ready();
    CHECK(seen == std::vector<uint64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8});
  }
}

TEST_CASE("turn: what is urgent comes first") {
  sim::world home{{}};
  auto seen = std::vector<uint64_t>{};
  auto who = home.spawn("noting", [&](caf::event_based_actor*) { return noting(seen); });
  caf::anon_send(who, numbered(1));
  caf::anon_send<caf::message_priority::high>(who, numbered(2));
  home.run_ready();
  CHECK(seen == std::vector<uint64_t>{2, 1});
}

TEST_CASE("turn: while an answer is awaited everything else waits, and keeps its order") {
  sim::world home{{}};
  auto seen = std::vector<uint64_t>{};
  auto asked = caf::response_promise{};
  auto server = home.spawn("server", [&](caf::event_based_actor* self) {
    return caf::behavior{[&asked, self](atom::get_status) {
                           asked = self->make_response_promise();
                           return asked;
                         },
                         [&asked](atom::wake) { asked.deliver(numbered(7)); }};
  });
  auto client = home.spawn("client", [&](caf::event_based_actor* self) {
    return caf::behavior{
      [&seen, self, server](atom::tick) {
        self->request(server, caf::infinite, atom::get_status_v).await([&seen](const report_ack& answer) {
          seen.push_back(answer.sequence);
        });
      },
      [&seen](const report_ack& what) { seen.push_back(what.sequence); }};
  });
  caf::anon_send(client, atom::tick_v);
  caf::anon_send(client, numbered(1));
  caf::anon_send(client, numbered(2));
  home.run_ready();
  CHECK(seen.empty());
  caf::anon_send(server, atom::wake_v);
  home.run_ready();
  CHECK(seen == std::vector<uint64_t>{7, 1, 2});
}

TEST_CASE("turn: a handler that throws ends its actor, and who asked gets an error") {
  sim::world home{{}};
  auto failed = 0;
  auto later = 0;
  auto server = home.spawn("server", [&](caf::event_based_actor*) {
    return caf::behavior{[](const report_ack& what) -> uint64_t {
                           if (what.sequence == 1)
                             throw std::runtime_error{"no"};
                           return what.sequence;
                         },
                         [&later](atom::wake) { ++later; }};
  });
  auto client = home.spawn("client", [&](caf::event_based_actor* self) {
    self->request(server, caf::infinite, numbered(1))
      .then([](uint64_t) { FAIL("answered"); }, [&failed](const caf::error&) { ++failed; });
    self->send(server, atom::wake_v);
    return caf::behavior{[](atom::tick) {}};
  });
  home.run_ready();
  CHECK(failed == 1);
  CHECK(later == 0);
  REQUIRE(home.deaths().size() == 1);
  CHECK(home.deaths().front().starts_with("server: "));
}

TEST_CASE("turn: what no handler takes goes to the default handler, and an answer goes back to who asked") {
  sim::world home{{}};
  auto unknown = 0;
  auto answer = uint64_t{0};
  auto server = home.spawn("server", [&](caf::event_based_actor* self) {
    self->set_default_handler([&unknown](caf::scheduled_actor*, caf::message&) -> caf::skippable_result {
      ++unknown;
      return caf::make_message(uint64_t{5});
    });
    return caf::behavior{[](atom::tick) {}};
  });
  auto client = home.spawn("client", [&](caf::event_based_actor* self) {
    self->request(server, caf::infinite, numbered(1)).then([&answer](uint64_t value) { answer = value; });
    return caf::behavior{[](atom::tick) {}};
  });
  home.run_ready();
  CHECK(unknown == 1);
  CHECK(answer == 5);
}
