// SPDX-License-Identifier: Apache-2.0
#include "actors/decode/decode.hpp"

#include "actors/core/actor_time.hpp"

namespace perigee {

decode_state::decode_state(decode_actor::pointer self, decode_options options, decode_neighbours beside)
  : self_(self), times_(options.times), beside_(std::move(beside)), core_(std::move(options)) {}

template <class Message>
void decode_state::handle(const Message& message) {
  core_.on(now_ns(*self_), message);
  flush();
}

void decode_state::flush() {
  for (auto& message : core_.local)
    std::visit(
      [this](auto& content) {
        using type = std::decay_t<decltype(content)>;
        if constexpr (std::is_same_v<type, fence_node>)
          self_->send(beside_.transport, content);
        else if constexpr (std::is_same_v<type, publish> || std::is_same_v<type, fetch>
                           || std::is_same_v<type, cancel_store> || std::is_same_v<type, give_back>)
          self_->send(beside_.store, std::move(content));
        else
          self_->send(beside_.stream, std::move(content));
      },
      message);
  core_.local.clear(); // and keeps its memory
  core_.out.flush(peers_);
}

decode_actor::behavior_type decode_state::make_behavior() {
  self_->delayed_send(self_, times_.tick, atom::tick_v);
  self_->request(beside_.transport, caf::infinite, atom::attach_v)
    .await([this](uint32_t lane) { core_.use_lane(lane); },
           [this](caf::error& reason) { self_->quit(std::move(reason)); });
  return {
    // The most frequent first: they are tried in this order.
    [this](const work_done& message) { handle(message); },
    [this](const token_acks& message) { handle(message); },
    [this](const peer_up& news) {
      if (peers_.up(news))
        handle(news);
    },
    [this](const peer_down& news) {
      if (peers_.down(news))
        handle(news);
    },
    [this](atom::tick) {
      auto now = now_ns(*self_);
      if (core_.device_lost(now)) {
        self_->quit(caf::make_error(caf::sec::runtime_error, "the device of this decode instance does not answer"));
        return;
      }
      core_.tick(now);
      flush();
      self_->delayed_send(self_, times_.tick, atom::tick_v);
    },
    [this](const conductor_hello& message) { handle(message); },
    [this](const report_ack& message) { handle(message); },
    [this](reserve& message) {
      core_.on(now_ns(*self_), std::move(message));
      flush();
    },
    [this](prefill_job& message) {
      core_.on(now_ns(*self_), std::move(message));
      flush();
    },
    [this](const handed_over& message) { handle(message); },
    [this](const quiesced& message) { handle(message); },
    [this](const cancel& message) { handle(message); },
    [this](const cancelled& message) { handle(message); },
    [this](const arrived& message) { handle(message); },
    [this](const node_fenced& message) { handle(message); },
    [this](const fetched& message) { handle(message); },
    [this](const published& message) { handle(message); },
    [](const layer_done&) {}, // Nobody waits for the layers of a prompt that stays here.
    [this](atom::get_status) { return uint64_t{core_.attempts()}; },
  };
}

} // namespace perigee
