// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/directory.hpp"

#include <utility>
#include <variant>
#include <vector>

namespace perigee {

/// Messages that a pure core wants sent, in order. Its shell sends them after each call.
template <class... Messages>
class outbox {
public:
  template <class Message>
  void to(const address& who, Message message) {
    items_.emplace_back(who, std::move(message));
  }

  /// Sends everything through the peers' table; what cannot be delivered is lost, as on the wire.
  void flush(const directory& peers) {
    for (auto& [who, message] : items_)
      std::visit([&, &to = who](auto& content) { peers.tell(to, std::move(content)); }, message);
    items_.clear(); // and keeps its memory
  }

  std::vector<std::pair<address, std::variant<Messages...>>> take() {
    return std::exchange(items_, {});
  }

private:
  std::vector<std::pair<address, std::variant<Messages...>>> items_;
};

} // namespace perigee
