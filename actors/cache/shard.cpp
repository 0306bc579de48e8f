// SPDX-License-Identifier: Apache-2.0
#include "actors/cache/shard.hpp"

#include <utility>

namespace perigee {

shard_state::shard_state(shard_actor::pointer self, shard_options options)
  : self(self), options(std::move(options)),
    core(this->options.self_address, this->options.region, this->options.slots,
         static_cast<uint64_t>(this->options.times.retry.count()),
         static_cast<uint64_t>(this->options.times.report.count()), this->options.limits) {}

shard_actor::behavior_type shard_state::make_behavior() {
  // Nothing else is looked at before the lane is known: an allocation needs it.
  self->request(options.transport, caf::infinite, atom::attach_v).await([this](uint32_t lane) { core.set_lane(lane); });
  self->delayed_send(self, options.times.tick, atom::tick_v);
  return {
    [this](const peer_up& news) { apply([&] { peers.up(news), core.peer_up(news.who); }); },
    [this](const peer_down& news) { apply([&] { peers.down(news), core.peer_down(news.who); }); },
    [this](atom::tick) {
      apply([] {});
      self->delayed_send(self, options.times.tick, atom::tick_v);
    },
    [this](const conductor_hello& news) { apply([&] { core.on_conductor(news, now()); }); },
    [this](const report_ack& news) { apply([&] { core.on_report_ack(news); }); },
    [this](const lease& ask) { apply([&] { core.on_lease(ask); }); },
    [this](const release& ask) { apply([&] { core.on_release(ask); }); },
    [this](const allocate& ask) { apply([&] { core.on_allocate(ask); }); },
    [this](const commit& ask) { apply([&] { core.on_commit(ask); }); },
    [this](const borrow& ask) { apply([&] { core.on_borrow(ask); }); },
    [this](const return_blocks& ask) { apply([&] { core.on_return(ask); }); },
    [this](const index_ack& news) { apply([&] { core.on_index_ack(news); }); },
    [this](const arrived& news) { apply([&] { core.on_arrived(news); }); },
    [this](const node_fenced& news) { apply([&] { core.on_fenced(news); }); },
  };
}

template <class Change>
void shard_state::apply(Change change) {
  change();
  core.pump(now());
  flush();
}

uint64_t shard_state::now() {
  return static_cast<uint64_t>(self->clock().now().time_since_epoch().count());
}

void shard_state::flush() {
  for (const auto& what : core.take_fences())
    self->send(options.transport, what);
  for (auto& it : core.take_output())
    std::visit([&](auto& message) { peers.tell(it.to, std::move(message)); }, it.message);
}

} // namespace perigee
