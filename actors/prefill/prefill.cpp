// SPDX-License-Identifier: Apache-2.0
#include "actors/prefill/prefill.hpp"

#include "actors/core/actor_time.hpp"

namespace perigee {

prefill_state::prefill_state(prefill_actor::pointer self, prefill_options options, prefill_neighbours beside)
  : self_(self), times_(options.times), beside_(std::move(beside)), core_(std::move(options)) {}

template <class Message>
void prefill_state::handle(const Message& message) {
  core_.on(now_ns(*self_), message);
  flush();
}

void prefill_state::flush() {
  for (auto& message : core_.local)
    std::visit(
      [this](auto& content) {
        using type = std::decay_t<decltype(content)>;
        if constexpr (std::is_same_v<type, move_blocks> || std::is_same_v<type, cancel_move>
                      || std::is_same_v<type, fence_node>)
          self_->send(beside_.transport, std::move(content));
        else if constexpr (std::is_same_v<type, run_prefill> || std::is_same_v<type, cancel_work>)
          self_->send(beside_.stream, std::move(content));
        else
          self_->send(beside_.store, std::move(content));
      },
      message);
  core_.local.clear(); // and keeps its memory
  core_.out.flush(peers_);
}

prefill_actor::behavior_type prefill_state::make_behavior() {
  self_->delayed_send(self_, times_.tick, atom::tick_v);
  self_->request(beside_.transport, caf::infinite, atom::attach_v)
    .await([this](uint32_t lane) { core_.use_lane(lane); },
           [this](caf::error& reason) { self_->quit(std::move(reason)); });
  return {
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
        self_->quit(caf::make_error(caf::sec::runtime_error, "the device of this prefill instance does not answer"));
        return;
      }
      core_.tick(now);
      flush();
      self_->delayed_send(self_, times_.tick, atom::tick_v);
    },
    [this](const conductor_hello& message) { handle(message); },
    [this](const report_ack& message) { handle(message); },
    [this](prefill_job& message) {
      core_.on(now_ns(*self_), std::move(message));
      flush();
    },
    [this](const cancel& message) { handle(message); },
    [this](const redirected& message) { handle(message); },
    [this](const granted& message) { handle(message); },
    [this](const refused& message) { handle(message); },
    [this](const joined& message) { handle(message); },
    [this](const quiesced_ack& message) { handle(message); },
    [this](const token_acks& message) { handle(message); },
    [this](const fetched& message) { handle(message); },
    [this](const published& message) { handle(message); },
    [this](const part_published& message) { handle(message); },
    [this](const moved& message) { handle(message); },
    [this](const layer_done& message) { handle(message); },
    [this](const work_done& message) { handle(message); },
    [this](const stage_job& message) { handle(message); },
    [this](const stage_ready& message) { handle(message); },
    [this](const stage_go& message) { handle(message); },
    [this](const stage_progress& message) { handle(message); },
    [this](const stage_release& message) { handle(message); },
    [this](const stage_left& message) { handle(message); },
    [this](const stage_left_ack& message) { handle(message); },
    [this](const cancelled& message) { handle(message); },
    [this](const arrived& message) { handle(message); },
    [this](const node_fenced& message) { handle(message); },
    [this](atom::get_status) { return uint64_t{core_.attempts()}; },
  };
}

} // namespace perigee
