// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/edge/message_record.hpp"
#include "actors/sim/digest.hpp"
#include "actors/sim/random.hpp"
#include "actors/sim/scheduler.hpp"

#include <caf/actor_cast.hpp>
#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/timespan.hpp>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace perigee::sim {

struct world_options {
  uint64_t seed = 1;
  bool digest = true;     ///< costs about a microsecond a message
  std::string digest_log = {}; ///< path of a file that gets one line a message and timer; none if empty
  /// More messages than this at one virtual instant are taken for actors that talk in circles; the process aborts.
  uint64_t steps_per_instant_max = 1'000'000;
  /// How many messages an actor takes in a row, as in production, where it is many. Above one `steps` counts turns.
  uint64_t messages_per_turn = 1;
};

/// One thread, one clock, one seed: runs real actors in an order that the seed decides, and repeats it to the byte.
///
/// Messages at one virtual instant are taken one by one, by actors chosen by the seed; when nobody has one left, the clock
/// jumps to the next timer. The clock starts at one second. Everything may be called from one thread only; no actor may be
/// detached or blocking, and nothing outside this thread may send to one.
class world {
public:
  explicit world(world_options options);
  /// Kills what is alive. Handles that outlive the world must not be used any more, only dropped.
  ~world();

  world(const world&) = delete;
  world& operator=(const world&) = delete;

  caf::actor_system& system();

  /// Nanoseconds of the actors' clock.
  uint64_t now() const;

  uint64_t seed() const;

  /// An own sequence of random numbers for one purpose; the same purpose gets the same sequence.
  random_stream random(std::string_view purpose) const;

  /// Spawns an actor and names it.
  template <class... SpawnArgs>
  auto spawn(std::string name, SpawnArgs&&... args) {
    auto handle = system().spawn(std::forward<SpawnArgs>(args)...);
    this->name(caf::actor_cast<caf::actor>(handle), std::move(name));
    return handle;
  }

  template <class Impl, class... SpawnArgs>
  auto spawn_class(std::string name, SpawnArgs&&... args) {
    auto handle = system().spawn<Impl>(std::forward<SpawnArgs>(args)...);
    this->name(caf::actor_cast<caf::actor>(handle), std::move(name));
    return handle;
  }

  /// Gives an actor the name that the digest has for it, and watches it: if it dies of anything but `kill` or a normal
  /// exit, `deaths` says so. To be called before its first message.
  void name(const caf::actor& who, std::string name);

  /// Calls `fn` after `delay_ns`, between two messages; `dispose()` on the result takes it back. Nothing while the world ends.
  caf::disposable at(uint64_t delay_ns, std::function<void()> fn);

  /// The same without allocation, and for good: `who.on_alarm(what)`. `who` must outlive every run of the world.
  void alarm(uint64_t delay_ns, alarm_target& who, uint64_t what);

  /// Puts a message into an actor's mailbox after `delay_ns`. Nothing while the world ends.
  void deliver(uint64_t delay_ns, const caf::actor& to, caf::mailbox_element_ptr what);

  /// Lets everything happen that is due now.
  void run_ready();

  void run_for(caf::timespan span);

  /// Runs until `done()`, which is asked whenever nothing more is due at an instant. False if `limit` passed first.
  bool run_until(const std::function<bool()>& done, caf::timespan limit);

  /// Calls `check` whenever nothing more is due at an instant, before the clock moves on.
  void on_instant(std::function<void()> check);

  /// Ends an actor at once: it takes no other message.
  void kill(const caf::actor& who);

  /// "decode-1: runtime_error": named actors that died of an error or an exception.
  const std::vector<std::string>& deaths() const;

  /// The world is being destroyed, and with it, in no particular order, what its actors own.
  bool ending() const;

  /// SHA-256 over all messages and timers so far.
  std::string digest_hex() const;
  uint64_t events() const;
  /// Messages that actors have taken.
  uint64_t steps() const;
  /// Timers that have fired, deliveries of messages included.
  uint64_t timers() const;

private:
  class observer;
  struct config;

  world_options options_;
  bool ending_ = false;
  std::unique_ptr<observer> observer_;
  std::unique_ptr<config> config_;
  std::unique_ptr<caf::actor_system> system_;
  scheduler* scheduler_ = nullptr;
  std::vector<std::function<void()>> checks_;
  std::shared_ptr<std::vector<std::string>> deaths_;
};

} // namespace perigee::sim
