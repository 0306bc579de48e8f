// SPDX-License-Identifier: Apache-2.0
#include "actors/cache/store_client.hpp"

#include <cassert>
#include <utility>

namespace perigee {

namespace {

store_settings settings_of(const store_client_options& options) {
  auto out = store_settings{};
  out.self = options.self_address;
  out.pool_region = options.pool_region;
  out.block_bytes = options.block_bytes;
  out.local_shard = options.local_shard;
  out.retry_ns = static_cast<uint64_t>(options.times.retry.count());
  out.transfer_ns = static_cast<uint64_t>(options.times.transfer.count());
  out.lent = options.lent;
  return out;
}

} // namespace

store_client_state::store_client_state(store_client_actor::pointer self, store_client_options options)
  : self(self), options(std::move(options)), core(settings_of(this->options)) {
  self->set_down_handler([this](const caf::down_msg& news) { owner_down(news); });
}

store_client_actor::behavior_type store_client_state::make_behavior() {
  self->delayed_send(self, options.times.tick, atom::tick_v);
  return {
    [this](const peer_up& news) { apply([&](uint64_t now) { peers.up(news), core.peer_up(news.who, now); }); },
    [this](const peer_down& news) { apply([&](uint64_t now) { peers.down(news), core.peer_down(news.who, now); }); },
    [this](atom::tick) {
      apply([&](uint64_t now) { core.tick(now); });
      self->delayed_send(self, options.times.tick, atom::tick_v);
    },
    [this](const fetch& ask) { apply([&](uint64_t now) { core.start(owner(), ask, now); }); },
    [this](const publish& ask) { apply([&](uint64_t now) { core.start(owner(), ask, now); }); },
    [this](const publish_part& ask) { apply([&](uint64_t now) { core.add_part(owner(), ask, now); }); },
    [this](const cancel_store& ask) { apply([&](uint64_t now) { core.cancel(owner(), ask.id, now); }); },
    [this](const give_back& news) { apply([&](uint64_t now) { core.give_back(owner(), news.id, now); }); },
    [this](const lent_blocks& news) { apply([&](uint64_t now) { core.on_lent(news, now); }); },
    [this](const leased& news) { apply([&](uint64_t now) { core.on_leased(news, now); }); },
    [this](const released& news) { apply([&](uint64_t now) { core.on_released(news, now); }); },
    [this](const allocated& news) { apply([&](uint64_t now) { core.on_allocated(news, now); }); },
    [this](const committed& news) { apply([&](uint64_t now) { core.on_committed(news, now); }); },
    [this](const moved& news) { apply([&](uint64_t now) { core.on_moved(news, now); }); },
  };
}

template <class Change>
void store_client_state::apply(Change change) {
  change(static_cast<uint64_t>(self->clock().now().time_since_epoch().count()));
  for (auto& it : core.take_output())
    std::visit([this](auto& what) { deliver(what); }, it.what);
}

store_owner store_client_state::owner() {
  const auto& sender = self->current_sender();
  assert(sender != nullptr);
  auto handle = caf::actor_cast<caf::actor>(sender);
  auto at = numbers.find(handle.address());
  if (at != numbers.end())
    return at->second;
  self->monitor(handle);
  numbers.emplace(handle.address(), ++owners_made);
  owners.emplace(owners_made, std::move(handle));
  return owners_made;
}

void store_client_state::owner_down(const caf::down_msg& news) {
  auto at = numbers.find(news.source);
  if (at == numbers.end())
    return;
  auto gone = at->second;
  owners.erase(gone);
  numbers.erase(at);
  apply([&](uint64_t now) { core.owner_gone(gone, now); });
}

void store_client_state::deliver(store_output::to_shard& what) {
  std::visit([&](auto& message) { peers.tell(what.to, std::move(message)); }, what.message);
}

void store_client_state::deliver(store_output::to_owner& what) {
  if (auto at = owners.find(what.owner); at != owners.end())
    std::visit([&](auto& message) { caf::anon_send(at->second, std::move(message)); }, what.message);
}

void store_client_state::deliver(move_blocks& what) {
  self->send(options.transport, std::move(what));
}

void store_client_state::deliver(cancel_move& what) {
  self->send(options.transport, what);
}

} // namespace perigee
