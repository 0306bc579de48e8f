// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <caf/actor.hpp>
#include <caf/disposable.hpp>
#include <caf/fwd.hpp>
#include <caf/mailbox_element.hpp>

#include <cstdint>
#include <functional>

namespace perigee::sim {

/// What an alarm calls: `what` is the number that was given with it.
class alarm_target {
public:
  virtual void on_alarm(uint64_t what) = 0;

protected:
  ~alarm_target() = default;
};

/// CAF's scheduler and clock, replaced: one thread, virtual time, and a seeded choice of who takes the next message.
/// Everything that leans on internals of CAF 0.18 is in scheduler.cpp and turn.cpp.
class scheduler {
public:
  virtual ~scheduler() = default;

  /// One runnable actor, chosen by the seed, has its turn: it takes one message. False if none is runnable.
  virtual bool step() = 0;

  /// Moves the clock to the next timer that is due at or before `limit` and fires it. False if there is none.
  virtual bool fire_next(uint64_t limit) = 0;

  /// Moves the clock forward; fires nothing.
  virtual void advance_to(uint64_t ns) = 0;

  /// What `self->clock().now()` says, in ns since the clock's epoch.
  virtual uint64_t now() const = 0;

  /// Calls `fn` at that virtual time, between two steps. Timers of one instant fire in the order in which they were set.
  virtual caf::disposable call_at(uint64_t ns, std::function<void()> fn) = 0;

  /// The same without any allocation, for what happens millions of times. Cannot be taken back; `who` must outlive it.
  virtual void alarm_at(uint64_t ns, alarm_target& who, uint64_t what) = 0;

  /// Puts a message into an actor's mailbox at that time. Constant delays, given in the order of time, cost least.
  virtual void deliver_at(uint64_t ns, caf::actor to, caf::mailbox_element_ptr what) = 0;

  /// Ends an actor before it takes any other message.
  virtual void kill(const caf::actor& who) = 0;

  /// Drops all timers.
  virtual void clear_timers() = 0;

  /// Turns so far.
  virtual uint64_t steps() const = 0;
  /// Timers, alarms and deliveries that fired so far.
  virtual uint64_t fired() const = 0;
};

/// Called for each timer, before it runs: its time, and its number among all timers ever set.
using timer_hook = std::function<void(uint64_t ns, uint64_t number)>;

/// Makes the `actor_system` that `config` is for run on a `scheduler`. The clock starts at `start_ns`. An actor whose turn it
/// is takes up to `messages_per_turn`.
void install_scheduler(caf::actor_system_config& config, uint64_t seed, uint64_t start_ns, uint64_t messages_per_turn,
                       timer_hook hook);

/// The scheduler of a system that was built with `install_scheduler`.
scheduler& scheduler_of(caf::actor_system& system);

} // namespace perigee::sim
