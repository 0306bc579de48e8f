// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/world.hpp"

#include <caf/actor_profiler.hpp>
#include <caf/exit_reason.hpp>
#include <caf/local_actor.hpp>
#include <caf/mailbox_element.hpp>

#include <cstdio>
#include <cstdlib>
#include <map>

namespace perigee::sim {

namespace {

constexpr uint64_t start_ns = 1'000'000'000;

} // namespace

/// Sees every message and every actor: feeds the digest, and knows who must end with the world.
class world::observer final : public caf::actor_profiler {
public:
  explicit observer(const world_options& options) : on_(options.digest), digest_(options.digest_log) {}

  void add_actor(const caf::local_actor& self, const caf::local_actor*) override {
    alive_[self.id()] = &self;
  }

  void remove_actor(const caf::local_actor& self) override {
    alive_.erase(self.id());
  }

  void before_processing(const caf::local_actor& self, const caf::mailbox_element& element) override {
    if (!on_)
      return;
    auto sender = element.sender == nullptr ? std::string_view{"-"} : names_.of(element.sender->id(), "?");
    digest_.delivered(scheduler_->now(), sender, names_.of(self.id(), self.name()), element.payload);
  }

  void after_processing(const caf::local_actor&, caf::invoke_message_result) override {}

  void before_sending(const caf::local_actor&, caf::mailbox_element&) override {}

  void before_sending_scheduled(const caf::local_actor&, caf::actor_clock::time_point, caf::mailbox_element&) override {
  }

  void fired(uint64_t ns, uint64_t number) {
    if (on_)
      digest_.fired(ns, number);
  }

  std::vector<caf::actor> alive() const {
    std::vector<caf::actor> result;
    for (const auto& [id, self] : alive_)
      result.push_back(caf::actor_cast<caf::actor>(const_cast<caf::local_actor*>(self)));
    return result;
  }

  bool on_;
  digest digest_;
  actor_names names_;
  scheduler* scheduler_ = nullptr;

private:
  std::map<caf::actor_id, const caf::local_actor*> alive_;
};

struct world::config : caf::actor_system_config {
  config(const world_options& options, observer& watch) {
    profiler = &watch;
    install_scheduler(*this, derived_seed(options.seed, "schedule"), start_ns, options.messages_per_turn,
                      options.digest ? timer_hook{[&watch](uint64_t ns, uint64_t number) { watch.fired(ns, number); }}
                                     : timer_hook{});
  }
};

world::world(world_options options)
  : options_(std::move(options)), observer_(std::make_unique<observer>(options_)),
    config_(std::make_unique<config>(options_, *observer_)), system_(std::make_unique<caf::actor_system>(*config_)),
    scheduler_(&scheduler_of(*system_)), deaths_(std::make_shared<std::vector<std::string>>()) {
  // Nothing runs any more once the system is being destroyed, so waiting for actors there would take for ever.
  system_->await_actors_before_shutdown(false);
  observer_->scheduler_ = scheduler_;
}

world::~world() {
  ending_ = true;
  observer_->on_ = false;
  checks_.clear();
  for (const auto& who : observer_->alive())
    scheduler_->kill(who);
  while (scheduler_->step()) {
  }
  scheduler_->clear_timers();
  while (scheduler_->step()) {
  }
}

caf::actor_system& world::system() {
  return *system_;
}

uint64_t world::now() const {
  return scheduler_->now();
}

uint64_t world::seed() const {
  return options_.seed;
}

random_stream world::random(std::string_view purpose) const {
  return random_stream{derived_seed(options_.seed, purpose)};
}

void world::name(const caf::actor& who, std::string name) {
  caf::actor_cast<caf::abstract_actor*>(who)->attach_functor([deaths = deaths_, name](const caf::error& reason) {
    if (reason && reason != caf::exit_reason::kill && reason != caf::exit_reason::user_shutdown)
      deaths->push_back(name + ": " + caf::to_string(reason));
  });
  observer_->names_.set(who.id(), std::move(name));
}

caf::disposable world::at(uint64_t delay_ns, std::function<void()> fn) {
  if (ending_)
    return {};
  return scheduler_->call_at(now() + delay_ns, std::move(fn));
}

void world::alarm(uint64_t delay_ns, alarm_target& who, uint64_t what) {
  scheduler_->alarm_at(now() + delay_ns, who, what);
}

void world::deliver(uint64_t delay_ns, const caf::actor& to, caf::mailbox_element_ptr what) {
  if (!ending_)
    scheduler_->deliver_at(now() + delay_ns, to, std::move(what));
}

void world::run_ready() {
  uint64_t steps = 0;
  do {
    while (scheduler_->step() && ++steps <= options_.steps_per_instant_max) {
    }
  } while (++steps <= options_.steps_per_instant_max && scheduler_->fire_next(now()));
  if (steps > options_.steps_per_instant_max) {
    std::fprintf(stderr, "sim: seed %llu: more than %llu messages and timers at one instant (%llu ns)\n",
                 static_cast<unsigned long long>(options_.seed),
                 static_cast<unsigned long long>(options_.steps_per_instant_max),
                 static_cast<unsigned long long>(now()));
    std::abort();
  }
  for (const auto& check : checks_)
    check();
}

void world::run_for(caf::timespan span) {
  run_until([] { return false; }, span);
}

bool world::run_until(const std::function<bool()>& done, caf::timespan limit) {
  auto end = now() + static_cast<uint64_t>(limit.count());
  for (;;) {
    run_ready();
    if (done())
      return true;
    if (!scheduler_->fire_next(end))
      break;
  }
  scheduler_->advance_to(end);
  return false;
}

void world::on_instant(std::function<void()> check) {
  checks_.push_back(std::move(check));
}

void world::kill(const caf::actor& who) {
  scheduler_->kill(who);
}

const std::vector<std::string>& world::deaths() const {
  return *deaths_;
}

bool world::ending() const {
  return ending_;
}

std::string world::digest_hex() const {
  return observer_->digest_.hex();
}

uint64_t world::events() const {
  return observer_->digest_.events();
}

uint64_t world::steps() const {
  return scheduler_->steps();
}

uint64_t world::timers() const {
  return scheduler_->fired();
}

} // namespace perigee::sim
