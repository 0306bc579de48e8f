// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <caf/actor.hpp>
#include <caf/mailbox_element.hpp>
#include <caf/message.hpp>

#include <memory>
#include <utility>

namespace perigee {

/// Puts a message into the actor's mailbox without naming a sender: `caf::anon_send`, less the question of each message
/// whether it is one of CAF's streams.
template <class Message>
void post(const caf::actor& to, Message&& message) {
  if (!to)
    return;
  auto item = std::make_unique<caf::mailbox_element>();
  item->payload = caf::make_message(std::forward<Message>(message));
  to->enqueue(std::move(item), nullptr);
}

} // namespace perigee
