// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/membership.hpp"

#include <caf/send.hpp>

#include <map>
#include <optional>
#include <utility>

namespace perigee {

/// The actors that one actor knows of, as its node actor told it. A message to an incarnation that is gone goes nowhere.
class directory {
public:
  /// Returns false for an incarnation older than the one known.
  bool up(const peer_up& news) {
    auto& entry = entries_[{news.who.kind, news.who.index}];
    if (entry.who.incarnation > news.who.incarnation)
      return false;
    entry = news;
    return true;
  }

  /// Returns false if that incarnation was not known.
  bool down(const peer_down& news) {
    auto at = entries_.find({news.who.kind, news.who.index});
    if (at == entries_.end() || at->second.who != news.who)
      return false;
    entries_.erase(at);
    return true;
  }

  bool alive(const address& who) const {
    auto at = entries_.find({who.kind, who.index});
    return at != entries_.end() && at->second.who == who;
  }

  /// The incarnation running now in that place.
  std::optional<address> current(role kind, uint32_t index) const {
    auto at = entries_.find({kind, index});
    if (at == entries_.end())
      return std::nullopt;
    return at->second.who;
  }

  /// Calls `visit(address)` for every actor of that role, by index.
  template <class Visit>
  void each(role kind, Visit visit) const {
    for (auto at = entries_.lower_bound({kind, 0}); at != entries_.end() && at->first.first == kind; ++at)
      visit(at->second.who);
  }

  /// Sends one message to exactly that incarnation; returns false if it is not there. Nothing else happens then: the
  /// initiator's timer or `peer_down` decides.
  template <class Message>
  bool tell(const address& to, Message&& message) const {
    auto at = entries_.find({to.kind, to.index});
    if (at == entries_.end() || at->second.who != to)
      return false;
    // Without a sender: every message between actors with addresses names it in `from`, which survives the wire.
    caf::anon_send(at->second.handle, std::forward<Message>(message));
    return true;
  }

  void clear() {
    entries_.clear();
  }

private:
  std::map<std::pair<role, uint32_t>, peer_up> entries_;
};

} // namespace perigee
