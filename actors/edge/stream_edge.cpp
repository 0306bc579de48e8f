// SPDX-License-Identifier: Apache-2.0
#include "actors/edge/stream_edge.hpp"

#include "actors/core/post.hpp"

#include <caf/actor_cast.hpp>

namespace perigee {

template <class Message>
void stream_forwarder::pass_on(Message message) {
  if (auto owner = caf::actor_cast<caf::actor>(owner_))
    post(owner, std::move(message));
}

void stream_forwarder::layer_done(uint64_t id, uint32_t layer) {
  pass_on(perigee::layer_done{id, layer});
}

void stream_forwarder::work_done(kernels::work_result result) {
  pass_on(perigee::work_done{std::move(result)});
}

stream_edge_state::stream_edge_state(stream_actor::pointer self, std::shared_ptr<device> work)
  : self_(self), device_(std::move(work)) {}

template <class Item>
void stream_edge_state::submit(Item& item) {
  if (!client_known_) {
    client_known_ = true;
    device_->events->forward_to(caf::actor_cast<caf::actor_addr>(self_->current_sender()));
  }
  if (!item.written.empty())
    device_->stream->written(std::move(item.written));
  device_->stream->submit(std::move(item.work));
}

stream_actor::behavior_type stream_edge_state::make_behavior() {
  return {
    [this](run_decode& item) { submit(item); },
    [this](run_prefill& item) { submit(item); },
    [this](run_copy& item) { submit(item); },
    [this](const cancel_work& item) { device_->stream->cancel(item.id); },
  };
}

} // namespace perigee
