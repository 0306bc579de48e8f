// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/link.hpp"

#include "actors/edge/message_record.hpp"

#include <caf/binary_deserializer.hpp>
#include <caf/binary_serializer.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/make_actor.hpp>
#include <caf/monitorable_actor.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace perigee::sim {

struct links::route {
  uint32_t from;
  uint32_t to;
  caf::actor target;
  bool from_alive = true;
  bool to_alive = true;
  uint64_t sent = 0;
  uint64_t newest_delivered = 0;
};

/// A handle to another node that costs no message of its own: what is sent to it is on its way at once.
class links::wire final : public caf::monitorable_actor {
public:
  wire(caf::actor_config& config, links& owner, std::shared_ptr<route> way)
    : caf::monitorable_actor(config), owner_(owner), way_(std::move(way)) {}

  bool enqueue(caf::mailbox_element_ptr what, caf::execution_unit*) override {
    if (!way_->target)
      return false;
    owner_.pass(way_, std::move(what));
    return true;
  }

  void setup_metrics() {}

private:
  links& owner_; // not used once the target is gone
  std::shared_ptr<route> way_;
};

namespace {

[[noreturn]] void refuse(const caf::message& what, const char* problem, const caf::error& reason) {
  std::fprintf(stderr, "sim: link: %s %s: %s\n", type_names(what).c_str(), problem, caf::to_string(reason).c_str());
  std::abort();
}

} // namespace

links::links(world& home, link_options options)
  : home_(home), options_(options), random_(home.random("link")) {}

links::~links() {
  // Actors of two nodes reach each other through their handles: one of the two must let go.
  for (auto& [way, proxy] : routes_)
    way->target = nullptr;
}

caf::actor links::make(uint32_t from, uint32_t to, const caf::actor& target, std::string name) {
  auto way = std::make_shared<route>(route{from, to, target});
  if (!options_.serialize) {
    auto& system = home_.system();
    auto config = caf::actor_config{};
    auto direct = caf::make_actor<wire, caf::actor>(system.next_actor_id(), system.node(), &system, config, *this, way);
    routes_.emplace_back(std::move(way), direct);
    return direct;
  }
  auto proxy = home_.spawn("link:" + name, [this, way](caf::event_based_actor* self) {
    self->set_default_handler([this, way](caf::scheduled_actor*, caf::message& what) -> caf::skippable_result {
      cross(way, what);
      return caf::delegated<caf::message>{};
    });
    return caf::behavior{[](caf::unit_t) {}};
  });
  routes_.emplace_back(std::move(way), proxy);
  return proxy;
}

void links::cut(uint32_t from, uint32_t to) {
  cuts_.emplace(from, to);
}

void links::heal(uint32_t from, uint32_t to) {
  cuts_.erase({from, to});
}

void links::kill(uint32_t node) {
  for (auto& [way, proxy] : routes_) {
    if (way->from != node && way->to != node)
      continue;
    way->from_alive = way->from_alive && way->from != node;
    way->to_alive = way->to_alive && way->to != node;
    if (!way->to_alive)
      way->target = nullptr;
    if (options_.serialize)
      home_.kill(proxy);
  }
  std::erase_if(routes_, [](const auto& entry) { return !entry.first->from_alive || !entry.first->to_alive; });
}

void links::cross(const std::shared_ptr<route>& way, const caf::message& what) {
  auto number = ++way->sent;
  ++totals_.sent;
  if (cuts_.contains({way->from, way->to}) || random_.chance(options_.loss_ppm)) {
    ++totals_.lost;
    return;
  }
  caf::byte_buffer bytes;
  caf::binary_serializer sink{nullptr, bytes};
  if (!sink.apply(what))
    refuse(what, "cannot be sent to another node", sink.get_error());
  auto twice = random_.chance(options_.duplicate_ppm);
  totals_.duplicated += twice;
  for (int copy = twice ? 2 : 1; copy > 0; --copy) {
    auto delay = random_.between(options_.latency_ns_min, options_.latency_ns_max);
    if (random_.chance(options_.slow_ppm))
      delay += random_.below(options_.slow_ns_max + 1);
    home_.at(delay, [this, way, bytes, number] { arrive(way, bytes, number); });
  }
}

void links::pass(const std::shared_ptr<route>& way, caf::mailbox_element_ptr what) {
  ++totals_.sent;
  if (!cuts_.empty() && cuts_.contains({way->from, way->to})) {
    ++totals_.lost;
    return;
  }
  ++totals_.delivered;
  what->sender = nullptr; // An address of another node is no way back.
  auto more = hook_ ? hook_(what->payload) : 0;
  if (more == 0) {
    home_.deliver(options_.latency_ns_min, way->target, std::move(what));
    return;
  }
  home_.at(options_.latency_ns_min + more, [way, payload = std::move(what->payload)] {
    if (way->target)
      way->target->enqueue(nullptr, caf::make_message_id(), payload, nullptr);
  });
}

void links::arrive(const std::shared_ptr<route>& way, const caf::byte_buffer& bytes, uint64_t number) {
  auto alive = way->to_alive && (way->from_alive || random_.chance(options_.ghost_ppm));
  if (!alive || cuts_.contains({way->from, way->to})) {
    ++totals_.lost;
    return;
  }
  caf::message what;
  caf::binary_deserializer source{nullptr, bytes};
  if (!source.apply(what) || source.remaining() != 0)
    refuse(what, "cannot be read back from what was written", source.get_error());
  ++totals_.delivered;
  totals_.overtaken += number < way->newest_delivered;
  way->newest_delivered = std::max(way->newest_delivered, number);
  way->target->enqueue(nullptr, caf::make_message_id(), std::move(what), nullptr);
}

} // namespace perigee::sim
