// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/interfaces.hpp"

#include <caf/actor_addr.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <memory>

namespace perigee {

/// Hands a stream's events as messages to whom the actor names, from whichever thread they come. Made before the stream,
/// which is made before the actor; the first item is submitted only by the actor.
class stream_forwarder final : public kernels::stream_events {
public:
  /// Once, before the first item.
  void forward_to(caf::actor_addr owner) {
    owner_ = std::move(owner);
  }

  void layer_done(uint64_t id, uint32_t layer) override;
  void work_done(kernels::work_result result) override;

private:
  template <class Message>
  void pass_on(Message message);

  caf::actor_addr owner_; // weak: what comes after the actor's end goes nowhere
};

/// A device stream with the events it reports to. Its pool is registered with the fabric before any actor runs.
struct device {
  std::unique_ptr<stream_forwarder> events;
  std::unique_ptr<kernels::stream> stream; // before `events` in destruction
};

/// A device stream as an actor: work items in; completions go straight from the device to the one instance that sends the
/// items.
class stream_edge_state {
public:
  static inline constexpr const char* name = "stream";

  stream_edge_state(stream_actor::pointer self, std::shared_ptr<device> work);

  stream_actor::behavior_type make_behavior();

private:
  template <class Item>
  void submit(Item& item);

  stream_actor::pointer self_;
  std::shared_ptr<device> device_;
  bool client_known_ = false;
};

using stream_edge = stream_actor::stateful_impl<stream_edge_state>;

} // namespace perigee
