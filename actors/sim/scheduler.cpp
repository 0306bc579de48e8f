// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/scheduler.hpp"

#include "actors/sim/random.hpp"
#include "actors/sim/turn.hpp"

#include <caf/action.hpp>
#include <caf/actor_clock.hpp>
#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/execution_unit.hpp>
#include <caf/mailbox_element.hpp>
#include <caf/make_actor.hpp>
#include <caf/monitorable_actor.hpp>
#include <caf/resumable.hpp>
#include <caf/scheduler/abstract_coordinator.hpp>
#include <caf/system_messages.hpp>

#include <algorithm>
#include <cassert>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

namespace perigee::sim {

namespace {

class virtual_clock final : public caf::actor_clock {
public:
  virtual_clock(uint64_t start_ns, timer_hook hook)
    : now_(duration_type{static_cast<int64_t>(start_ns)}), hook_(std::move(hook)) {}

  time_point now() const noexcept override {
    return now_;
  }

  using caf::actor_clock::schedule_periodically;

  caf::disposable schedule_periodically(time_point first, caf::action what, duration_type period) override {
    push(first, {what, period, nullptr, 0});
    return std::move(what).as_disposable();
  }

  bool fire_next(time_point limit) {
    drop_disposed();
    auto flight_first = !flights_.empty() && (heap_.empty() || earlier(flights_.front(), heap_.front()));
    if (flight_first ? flights_.front().due > limit : heap_.empty() || heap_.front().due > limit)
      return false;
    ++fired_;
    if (flight_first)
      land();
    else
      ring();
    return true;
  }

  void advance_to(time_point to) {
    now_ = std::max(now_, to);
  }

  void alarm(time_point due, alarm_target& who, uint64_t what) {
    push(due, {{}, duration_type{0}, &who, what});
  }

  void deliver(time_point due, caf::actor to, caf::mailbox_element_ptr what) {
    if (flights_.empty() || flights_.back().due <= due) {
      flights_.push_back({due, numbers_++, std::move(to), std::move(what)});
      return;
    }
    // Something slower is on its way already: this one is a timer like others.
    auto late = std::make_shared<flight>(flight{due, 0, std::move(to), std::move(what)});
    schedule_periodically(due, caf::make_action([late] { late->to->enqueue(std::move(late->what), nullptr); }),
                          duration_type{0});
  }

  /// What a timer holds may set or drop timers while it dies.
  void clear() {
    while (!heap_.empty() || !flights_.empty()) {
      auto old = std::exchange(timers_, {});
      auto messages = std::exchange(flights_, {});
      heap_.clear();
      places_free_.clear();
      for (auto& timer : old)
        if (timer.what.ptr() != nullptr)
          timer.what.dispose();
    }
  }

  uint64_t fired() const noexcept {
    return fired_;
  }

  static uint64_t nanoseconds(time_point at) {
    return static_cast<uint64_t>(at.time_since_epoch().count());
  }

private:
  struct timer {
    caf::action what; // none for an alarm
    duration_type period;
    alarm_target* target;
    uint64_t argument;
  };

  /// What the heap moves about is small.
  struct timer_place {
    time_point due;
    uint64_t number;
    uint32_t place; // in timers_
  };

  struct flight {
    time_point due;
    uint64_t number;
    caf::actor to;
    caf::mailbox_element_ptr what;
  };

  template <class A, class B>
  static bool earlier(const A& a, const B& b) {
    return a.due != b.due ? a.due < b.due : a.number < b.number;
  }

  static bool later(const timer_place& a, const timer_place& b) {
    return earlier(b, a);
  }

  void drop_disposed() {
    while (!heap_.empty() && is_disposed(timers_[heap_.front().place]))
      pop();
  }

  void at(time_point due, uint64_t number) {
    now_ = std::max(now_, due);
    if (hook_)
      hook_(nanoseconds(now_), number);
  }

  void land() {
    auto next = std::move(flights_.front());
    flights_.pop_front();
    at(next.due, next.number);
    next.to->enqueue(std::move(next.what), nullptr);
  }

  void ring() {
    auto due = heap_.front().due;
    at(due, heap_.front().number);
    auto timer = pop();
    if (timer.target != nullptr) {
      timer.target->on_alarm(timer.argument);
      return;
    }
    auto outcome = timer.what.run();
    if (timer.period.count() > 0 && outcome == caf::action::transition::success)
      push(due + timer.period, {std::move(timer.what), timer.period, nullptr, 0});
  }

  static bool is_disposed(const timer& what) {
    return what.target == nullptr && what.what.disposed();
  }

  void push(time_point due, timer what) {
    auto place = static_cast<uint32_t>(timers_.size());
    if (places_free_.empty()) {
      timers_.push_back(std::move(what));
    } else {
      place = places_free_.back();
      places_free_.pop_back();
      timers_[place] = std::move(what);
    }
    heap_.push_back({due, numbers_++, place});
    std::push_heap(heap_.begin(), heap_.end(), later);
  }

  timer pop() {
    std::pop_heap(heap_.begin(), heap_.end(), later);
    auto place = heap_.back().place;
    heap_.pop_back();
    places_free_.push_back(place);
    return std::move(timers_[place]);
  }

  std::vector<timer_place> heap_;
  std::vector<timer> timers_;
  std::vector<uint32_t> places_free_; // of timers_
  std::deque<flight> flights_; // by due time and number
  uint64_t numbers_ = 0;
  uint64_t fired_ = 0;
  time_point now_;
  timer_hook hook_;
};

/// Takes the place of CAF's printer; what actors print goes nowhere.
class silent_printer final : public caf::monitorable_actor {
public:
  explicit silent_printer(caf::actor_config& config) : caf::monitorable_actor(config) {}

  bool enqueue(caf::mailbox_element_ptr, caf::execution_unit*) override {
    return true;
  }

  void setup_metrics() {}
};

class coordinator final : public caf::scheduler::abstract_coordinator, public scheduler {
public:
  coordinator(caf::actor_system& system, uint64_t seed, uint64_t start_ns, uint64_t messages_per_turn, timer_hook hook)
    : abstract_coordinator(system), clock_(start_ns, std::move(hook)), choice_(seed), unit_(*this),
      messages_per_turn_(messages_per_turn) {}

  virtual_clock& clock() noexcept override {
    return clock_;
  }

  bool detaches_utility_actors() const override {
    return false;
  }

  void enqueue(caf::resumable* job) override {
    jobs_.push_back(job);
  }

  bool step() override {
    if (jobs_.empty())
      return false;
    resume(jobs_.size() == 1 ? 0 : choice_.below(jobs_.size()));
    return true;
  }

  bool fire_next(uint64_t limit) override {
    return clock_.fire_next(at(limit));
  }

  void advance_to(uint64_t ns) override {
    clock_.advance_to(at(ns));
  }

  uint64_t now() const override {
    return virtual_clock::nanoseconds(clock_.now());
  }

  caf::disposable call_at(uint64_t ns, std::function<void()> fn) override {
    return clock_.schedule_periodically(at(ns), caf::make_action(std::move(fn)), caf::actor_clock::duration_type{0});
  }

  void alarm_at(uint64_t ns, alarm_target& who, uint64_t what) override {
    clock_.alarm(at(ns), who, what);
  }

  void deliver_at(uint64_t ns, caf::actor to, caf::mailbox_element_ptr what) override {
    clock_.deliver(at(ns), std::move(to), std::move(what));
  }

  void kill(const caf::actor& who) override {
    // As urgent, it overtakes everything in the mailbox.
    who->enqueue(nullptr, caf::make_message_id(caf::message_priority::high),
                 caf::make_message(caf::exit_msg{who->address(), caf::exit_reason::kill}), nullptr);
    auto* job = dynamic_cast<caf::resumable*>(caf::actor_cast<caf::abstract_actor*>(who));
    assert(job != nullptr && "only scheduled actors live in a simulated world");
    for (auto found = std::find(jobs_.begin(), jobs_.end(), job); found != jobs_.end();
         found = std::find(jobs_.begin(), jobs_.end(), job))
      resume(static_cast<size_t>(found - jobs_.begin()));
  }

  void clear_timers() override {
    clock_.clear();
  }

  uint64_t steps() const override {
    return steps_;
  }

  uint64_t fired() const override {
    return clock_.fired();
  }

protected:
  void start() override {
    caf::actor_config config{&unit_};
    utility_actors_[printer_id] = caf::make_actor<silent_printer, caf::actor>(
      caf::scheduler::abstract_coordinator::system().next_actor_id(),
      caf::scheduler::abstract_coordinator::system().node(), &caf::scheduler::abstract_coordinator::system(), config);
  }

  void stop() override {
    while (step()) {
    }
    clock_.clear();
    while (step()) {
    }
  }

private:
  class unit final : public caf::execution_unit {
  public:
    explicit unit(coordinator& parent) : execution_unit(&parent.abstract_coordinator::system()), parent_(parent) {}

    void exec_later(caf::resumable* job) override {
      parent_.jobs_.push_back(job);
    }

  private:
    coordinator& parent_;
  };

  static caf::actor_clock::time_point at(uint64_t ns) {
    return caf::actor_clock::time_point{caf::actor_clock::duration_type{static_cast<int64_t>(ns)}};
  }

  void resume(size_t place) {
    auto* job = jobs_[place];
    jobs_[place] = jobs_.back();
    jobs_.pop_back();
    ++steps_;
    switch (take_turn(*job, unit_, messages_per_turn_)) {
    case caf::resumable::resume_later: jobs_.push_back(job); break;
    case caf::resumable::done:
    case caf::resumable::awaiting_message: caf::intrusive_ptr_release(job); break;
    case caf::resumable::shutdown_execution_unit: break;
    }
  }

  std::vector<caf::resumable*> jobs_;
  virtual_clock clock_;
  random_stream choice_;
  unit unit_;
  const uint64_t messages_per_turn_;
  uint64_t steps_ = 0;
};

} // namespace

void install_scheduler(caf::actor_system_config& config, uint64_t seed, uint64_t start_ns, uint64_t messages_per_turn,
                       timer_hook hook) {
  config.module_factories.push_back(
    [=, hook = std::move(hook)](caf::actor_system& system) -> caf::actor_system::module* {
      return new coordinator(system, seed, start_ns, messages_per_turn, hook);
    });
}

scheduler& scheduler_of(caf::actor_system& system) {
  return dynamic_cast<coordinator&>(system.scheduler());
}

} // namespace perigee::sim
