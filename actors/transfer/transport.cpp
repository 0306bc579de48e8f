// SPDX-License-Identifier: Apache-2.0
#include "actors/transfer/transport.hpp"

#include "actors/core/directory.hpp"
#include "actors/edge/fabric_events.hpp"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <cassert>
#include <map>
#include <utility>
#include <variant>

namespace perigee {

namespace {

class transport_impl final : public transport_actor::base {
public:
  transport_impl(caf::actor_config& config, transport_options options)
    : transport_actor::base(config), times_(options.times), memory_(std::move(options.memory)), events_(address()),
      fabric_(options.make_fabric(events_)),
      core_(*fabric_, options.self_address, static_cast<uint64_t>(times_.transfer.count()),
            static_cast<uint64_t>(times_.retry.count()), options.limits) {
    set_down_handler([this](const caf::down_msg& news) { client_down(news); });
  }

  const char* name() const override {
    return "transport";
  }

  void on_exit() override {
    // Whoever still has a handle does not keep the fabric alive (core_ is not called any more), nor do handles go in
    // circles.
    fabric_.reset();
    memory_.clear();
    peers_.clear();
    clients_.clear();
    numbers_.clear();
  }

  behavior_type make_behavior() override {
    delayed_send(this, times_.tick, atom::tick_v);
    return {
      [this](const peer_up& news) { up(news); },
      [this](const peer_down& news) { down(news); },
      [this](atom::tick) { tick(); },
      [this](atom::attach) { return attach(); },
      [this](const move_blocks& work) { core_.move(client(), work, now()), flush(); },
      [this](const cancel_move& what) { core_.cancel(client(), what.id, now()), flush(); },
      [this](const fence_node& what) { core_.fence(client(), what, now()), flush(); },
      [this](const fabric_hello& news) { core_.hello(news, now()), flush(); },
      [this](const fabric_hello_ack& news) { core_.hello_ack(news); },
      [this](const fabric_completed& news) { core_.completed(news, now()), flush(); },
      [this](const fabric_arrived& news) { core_.arrived_here(news), flush(); },
      [this](const fabric_fenced& news) { core_.fenced(news, now()), flush(); },
      [this](atom::get_status) { return core_.counters(); },
    };
  }

private:
  uint64_t now() {
    return static_cast<uint64_t>(clock().now().time_since_epoch().count());
  }

  void up(const peer_up& news) {
    if (!peers_.up(news))
      return;
    core_.peer_up(news.who, now());
    flush();
  }

  void down(const peer_down& news) {
    peers_.down(news);
    core_.peer_down(news.who, now());
    flush();
  }

  void tick() {
    core_.tick(now());
    flush();
    delayed_send(this, times_.tick, atom::tick_v);
  }

  caf::result<uint32_t> attach() {
    if (auto lane = core_.attach(client()))
      return *lane;
    return caf::make_error(caf::sec::runtime_error, "all 64 lanes of the transport actor are taken");
  }

  /// Who sent the present message. Numbers are given in the order of first messages.
  transport_client client() {
    const auto& sender = current_sender();
    assert(sender != nullptr);
    auto at = numbers_.find(caf::actor_cast<caf::actor_addr>(sender));
    if (at != numbers_.end())
      return at->second;
    auto handle = caf::actor_cast<caf::actor>(sender);
    auto number = ++clients_made_;
    monitor(handle);
    numbers_.emplace(handle.address(), number);
    clients_.emplace(number, std::move(handle));
    return number;
  }

  void client_down(const caf::down_msg& news) {
    auto at = numbers_.find(news.source);
    if (at == numbers_.end())
      return;
    core_.client_gone(at->second, now());
    clients_.erase(at->second);
    numbers_.erase(at);
    flush();
  }

  void flush() {
    for (auto& it : core_.take_output())
      std::visit([this](auto& what) { deliver(what); }, it.what);
  }

  void deliver(transport_output::to_client& what) {
    if (auto at = clients_.find(what.client); at != clients_.end())
      std::visit([&](auto& message) { caf::anon_send(at->second, std::move(message)); }, what.message);
  }

  void deliver(transport_output::to_peer& what) {
    std::visit([&](auto& message) { peers_.tell(what.to, std::move(message)); }, what.message);
  }

  const timing times_;
  directory peers_;
  std::map<caf::actor_addr, transport_client> numbers_; // looked up only
  std::map<transport_client, caf::actor> clients_;
  transport_client clients_made_ = 0;
  std::vector<std::shared_ptr<const void>> memory_; // outlives the fabric
  fabric_forwarder events_;
  std::unique_ptr<transport::fabric> fabric_; // before core_, which calls it; ends before events_
  transport_core core_;
};

} // namespace

transport_actor spawn_transport(caf::actor_system& system, transport_options options) {
  return system.spawn<transport_impl>(std::move(options));
}

} // namespace perigee
