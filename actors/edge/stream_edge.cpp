// SPDX-License-Identifier: Apache-2.0
#include "actors/edge/stream_edge.hpp"

#include <caf/actor_cast.hpp>
#include <caf/send.hpp>

namespace perigee {

template <class Message>
void stream_forwarder::pass_on(Message message) {
  if (auto owner = caf::actor_cast<caf::actor>(owner_))
    caf::anon_send(owner, std::move(message));
}

void stream_forwarder::layer_done(uint64_t id, uint32_t layer) {
  pass_on(perigee::layer_done{id, layer});
}

void stream_forwarder::work_done(kernels::work_result result) {
  pass_on(perigee::work_done{std::move(result)});
}

stream_edge_state::stream_edge_state(stream_actor::pointer self, std::shared_ptr<device> work)
  : self_(self), device_(std::move(work)) {
  device_->events->forward_to(self_->address());
}

void stream_edge_state::remember_client() {
  if (!client_)
    client_ = caf::actor_cast<caf::actor>(self_->current_sender());
}

template <class Message>
void stream_edge_state::answer(const Message& message) {
  if (client_)
    caf::anon_send(client_, message);
}

stream_actor::behavior_type stream_edge_state::make_behavior() {
  return {
    [this](const run_prefill& item) {
      remember_client();
      device_->stream->submit(item.work);
    },
    [this](const run_decode& item) {
      remember_client();
      device_->stream->submit(item.work);
    },
    [this](const run_copy& item) {
      remember_client();
      device_->stream->submit(item.work);
    },
    [this](const cancel_work& item) { device_->stream->cancel(item.id); },
    [this](const layer_done& progress) { answer(progress); },
    [this](const work_done& result) { answer(result); },
  };
}

} // namespace perigee
