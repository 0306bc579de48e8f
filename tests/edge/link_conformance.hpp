// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tests/support/testing.hpp"

#include <caf/actor.hpp>
#include <caf/message.hpp>

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

/// The suite that every link between nodes passes, the simulated one and CAF's network (docs/simulation.md). A new kind
/// derives a `link_world`, which must be default-constructible, and writes `LINK_CONFORMANCE("name", its_world)`.
namespace perigee::testing {

/// What an actor at the other node got. Any thread.
class letter_box {
public:
  void put(const caf::message& what);
  std::vector<caf::message> all() const;
  size_t size() const;

private:
  mutable std::mutex mutex_;
  std::vector<caf::message> got_;
};

/// Two nodes.
class link_world {
public:
  virtual ~link_world() = default;

  /// A listener at the other node, and the handle by which it is reached from here.
  virtual caf::actor listener(std::shared_ptr<letter_box> box) = 0;
  /// An actor here that sends what it is told to `to`, as itself; what comes back goes into `answers`.
  virtual caf::actor sender(caf::actor to, std::shared_ptr<letter_box> answers) = 0;
  /// The other node ends; a new one takes its place. Returns when this side can know.
  virtual void restart_other() = 0;
  virtual bool pump(const std::function<bool()>& done) = 0;
  /// Long enough for anything on its way to arrive.
  virtual void let_time_pass() = 0;
};

/// The cases. Each is told by the name that `LINK_CONFORMANCE` gives it.
namespace link_cases {

void every_message_arrives_as_it_was(link_world& world);
void messages_arrive_once(link_world& world);
void a_dead_node_gets_and_says_nothing(link_world& world);

} // namespace link_cases

} // namespace perigee::testing

#define PERIGEE_LINK_CASE(label, world_type, text, function)                                                           \
  TEST_CASE("link, " label ": " text) {                                                                                \
    auto world = world_type{};                                                                                         \
    perigee::testing::link_cases::function(world);                                                                     \
  }

#define LINK_CONFORMANCE(label, W)                                                                                     \
  PERIGEE_LINK_CASE(label, W, "every message arrives as it was sent", every_message_arrives_as_it_was)                 \
  PERIGEE_LINK_CASE(label, W, "messages arrive once each while nothing breaks", messages_arrive_once)                  \
  PERIGEE_LINK_CASE(label, W, "a dead node gets nothing, says nothing, and has no heir", a_dead_node_gets_and_says_nothing)
