// SPDX-License-Identifier: Apache-2.0
#define DOCTEST_CONFIG_IMPLEMENT
#include "tests/edge/link_conformance.hpp"

#include "actors/core/interfaces.hpp"
#include "actors/core/message_types.hpp"
#include "actors/sim/link.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/io/middleman.hpp>
#include <caf/io/publish.hpp>
#include <caf/io/remote_actor.hpp>
#include <caf/send.hpp>

#include <chrono>
#include <thread>

using namespace perigee;
using namespace perigee::testing;

namespace {

caf::behavior listening(caf::event_based_actor* self, std::shared_ptr<letter_box> box) {
  self->set_default_handler([box](caf::scheduled_actor*, caf::message& what) -> caf::skippable_result {
    box->put(what);
    return caf::delegated<caf::message>{};
  });
  return {[](caf::unit_t) {}};
}

/// Tells what it is told by nobody to `to`, in its own name; what somebody tells it is an answer.
caf::behavior sending(caf::event_based_actor* self, caf::actor to, std::shared_ptr<letter_box> answers) {
  self->set_default_handler([self, to, answers](caf::scheduled_actor*, caf::message& what) -> caf::skippable_result {
    if (self->current_sender() == nullptr)
      to->enqueue(caf::actor_cast<caf::strong_actor_ptr>(self), caf::make_message_id(), what, self->context());
    else
      answers->put(what);
    return caf::delegated<caf::message>{};
  });
  return {[](caf::unit_t) {}};
}

class sim_link_world final : public link_world {
public:
  caf::actor listener(std::shared_ptr<letter_box> box) override {
    return net_.make(0, 1, home_.spawn("listener", listening, box), "0>listener");
  }
  caf::actor sender(caf::actor to, std::shared_ptr<letter_box> answers) override {
    return home_.spawn("sender", sending, to, answers);
  }
  void restart_other() override {
    net_.kill(1);
  }
  bool pump(const std::function<bool()>& done) override {
    return home_.run_until(done, std::chrono::seconds{10});
  }
  void let_time_pass() override {
    home_.run_for(std::chrono::seconds{10});
  }

private:
  sim::world home_{{}};
  sim::links net_{home_, {}};
};

struct network_config : caf::actor_system_config {
  network_config() {
    load<caf::io::middleman>();
    set("caf.scheduler.max-threads", 1);
    set("caf.scheduler.policy", "sharing");
  }
};

/// CAF's network between two systems of this process.
class caf_link_world final : public link_world {
public:
  caf_link_world() : there_(std::make_unique<caf::actor_system>(there_config_)) {}
  ~caf_link_world() override {
    end(own_);
    end(others_);
  }

  caf::actor listener(std::shared_ptr<letter_box> box) override {
    others_.push_back(there_->spawn(listening, box));
    auto port = caf::io::publish(others_.back(), 0, "127.0.0.1");
    REQUIRE(port);
    auto remote = caf::io::remote_actor(here_, "127.0.0.1", *port);
    REQUIRE(remote);
    return *remote;
  }
  caf::actor sender(caf::actor to, std::shared_ptr<letter_box> answers) override {
    own_.push_back(here_.spawn(sending, to, answers));
    return own_.back();
  }
  void restart_other() override {
    end(others_);
    there_.reset();
    there_ = std::make_unique<caf::actor_system>(there_config_);
  }
  bool pump(const std::function<bool()>& done) override {
    using namespace std::chrono_literals;
    auto end = std::chrono::steady_clock::now() + 20s;
    while (!done()) {
      if (std::chrono::steady_clock::now() > end)
        return false;
      std::this_thread::sleep_for(1ms); // a network rings no bell
    }
    return true;
  }
  void let_time_pass() override {
    std::this_thread::sleep_for(std::chrono::milliseconds{100});
  }

private:
  static void end(std::vector<caf::actor>& actors) {
    for (const auto& one : actors)
      caf::anon_send_exit(one, caf::exit_reason::user_shutdown);
    actors.clear();
  }

  network_config here_config_;
  network_config there_config_;
  caf::actor_system here_{here_config_};
  std::unique_ptr<caf::actor_system> there_;
  std::vector<caf::actor> own_;
  std::vector<caf::actor> others_;
};

} // namespace

LINK_CONFORMANCE("simulated", sim_link_world)
LINK_CONFORMANCE("CAF's network", caf_link_world)

int main(int argc, char** argv) {
  perigee::init_message_types();
  caf::io::middleman::init_global_meta_objects();
  return doctest::Context(argc, argv).run();
}
