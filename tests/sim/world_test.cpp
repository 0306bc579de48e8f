// SPDX-License-Identifier: Apache-2.0
#include "actors/core/interfaces.hpp"
#include "actors/sim/world.hpp"
#include "tests/sim/gossip.hpp"
#include "tests/support/testing.hpp"

#include <caf/event_based_actor.hpp>
#include <caf/send.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <set>
#include <stdexcept>

using namespace perigee;
using namespace perigee::sim;
using namespace std::chrono_literals;

namespace {

std::string digest_in_another_process(uint64_t seed) {
  auto self = std::filesystem::read_symlink("/proc/self/exe").string();
  auto command = "'" + self + "' --gossip-digest=" + std::to_string(seed);
  auto* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::array<char, 128> line{};
  auto* read = std::fgets(line.data(), line.size(), pipe);
  REQUIRE(pclose(pipe) == 0);
  REQUIRE(read != nullptr);
  std::string result = line.data();
  result.pop_back();
  return result;
}

} // namespace

TEST_CASE("world: the same seed repeats a run, another one does not") {
  std::set<std::string> digests;
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    auto first = gossip_digest(seed);
    CHECK(first == gossip_digest(seed));
    digests.insert(first);
  }
  CHECK(digests.size() == 6);
}

TEST_CASE("world: the same seed gives the same digest in another process") {
  CHECK(gossip_digest(11) == digest_in_another_process(11));
  CHECK(gossip_digest(12) != digest_in_another_process(11));
}

TEST_CASE("world: actors really talk") {
  world home{{.seed = 3}};
  gossip talk{home};
  home.run_for(100ms);
  CHECK(talk.heard() > 1000);
  CHECK(home.deaths().empty());
  CHECK(home.now() == 1'100'000'000);
}

TEST_CASE("world: timers fire at their time, in order, and can be taken back") {
  world home{{}};
  auto start = home.now();
  std::vector<std::pair<int, uint64_t>> fired;
  auto note = [&](int what) { return [&, what] { fired.emplace_back(what, home.now() - start); }; };
  home.at(3'000, note(3));
  home.at(1'000, note(1));
  home.at(1'000, note(2));
  auto never = home.at(2'000, note(9));
  never.dispose();
  home.at(9'000'000, note(4));
  home.run_for(1ms);
  CHECK(fired == std::vector<std::pair<int, uint64_t>>{{1, 1'000}, {2, 1'000}, {3, 3'000}});
  CHECK(home.now() == start + 1'000'000);
  home.run_for(1s);
  CHECK(fired.size() == 4);
}

TEST_CASE("world: run_until stops at the instant that makes it true, or at its limit") {
  world home{{}};
  auto start = home.now();
  bool reached = false;
  home.at(5'000, [&] { reached = true; });
  CHECK(home.run_until([&] { return reached; }, 1s));
  CHECK(home.now() == start + 5'000);
  CHECK_FALSE(home.run_until([] { return false; }, 1ms));
  CHECK(home.now() == start + 1'005'000);
}

TEST_CASE("world: runnable actors are chosen by the seed, the messages of one sender stay in order") {
  std::set<std::vector<uint64_t>> orders;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    world home{{.seed = seed}};
    auto order = std::make_shared<std::vector<uint64_t>>();
    for (uint64_t actor = 0; actor < 3; ++actor) {
      auto who = home.spawn("listener", [order](caf::event_based_actor*) -> caf::behavior {
        return {[order](const cancel_work& what) { order->push_back(what.id); }};
      });
      for (uint64_t n = 0; n < 2; ++n)
        caf::anon_send(who, cancel_work{10 * actor + n});
    }
    home.run_ready();
    REQUIRE(order->size() == 6);
    for (uint64_t actor = 0; actor < 3; ++actor)
      CHECK(std::find(order->begin(), order->end(), 10 * actor) < std::find(order->begin(), order->end(), 10 * actor + 1));
    orders.insert(*order);
  }
  CHECK(orders.size() > 5);
}

TEST_CASE("world: a killed actor takes nothing more, not even what it has already got") {
  world home{{}};
  auto heard = std::make_shared<int>(0);
  auto who = home.spawn("victim", [heard](caf::event_based_actor*) -> caf::behavior {
    return {[heard](const cancel_work&) { ++*heard; }};
  });
  caf::anon_send(who, cancel_work{1});
  home.run_ready();
  caf::anon_send(who, cancel_work{2});
  home.kill(who);
  caf::anon_send(who, cancel_work{3});
  home.run_for(1s);
  CHECK(*heard == 1);
  CHECK(home.deaths().empty());
}

TEST_CASE("world: an actor that dies of an exception is found") {
  world home{{}};
  auto who = home.spawn("fragile", [](caf::event_based_actor* self) -> caf::behavior {
    self->set_exception_handler([](caf::scheduled_actor*, std::exception_ptr&) { return caf::sec::runtime_error; });
    return {[](const cancel_work&) { throw std::runtime_error("broken"); }};
  });
  caf::anon_send(who, cancel_work{1});
  home.run_ready();
  REQUIRE(home.deaths().size() == 1);
  CHECK(home.deaths()[0].starts_with("fragile: "));
}

TEST_CASE("world: ends while actors hold each other, wait for timers, and have unread messages") {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    auto home = std::make_unique<world>(world_options{.seed = seed});
    gossip talk{*home};
    home->run_for(5ms);
    auto pending = home->spawn("pending", [](caf::event_based_actor*) -> caf::behavior {
      return {[](const cancel_work&) {}};
    });
    caf::anon_send(pending, cancel_work{1});
    home->at(1'000'000'000, [pending] { caf::anon_send(pending, cancel_work{2}); });
    pending = nullptr;
    home.reset();
  }
}

TEST_CASE("world: streams of random numbers are apart and repeatable") {
  world home{{.seed = 5}};
  world other{{.seed = 6}};
  auto one = home.random("faults");
  CHECK(one.next() == home.random("faults").next());
  CHECK(home.random("faults").next() != home.random("traffic").next());
  CHECK(home.random("faults").next() != other.random("faults").next());
  uint64_t low = 0;
  for (int i = 0; i < 10'000; ++i) {
    auto value = one.between(5, 8);
    CHECK_UNARY(value >= 5 && value <= 8);
    low += one.chance(250'000);
  }
  CHECK(low > 2'300);
  CHECK(low < 2'700);
  CHECK(one.below(0) == 0);
  CHECK(one.between(7, 7) == 7);
}
