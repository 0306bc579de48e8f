// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/membership.hpp"
#include "actors/core/post.hpp"

#include <array>
#include <optional>
#include <utility>
#include <vector>

namespace perigee {

/// The actors that one actor knows of, as its node actor told it. A message to an incarnation that is gone goes nowhere.
class directory {
public:
  /// Returns false for an incarnation older than the one known, and for a place that no cluster has.
  bool up(const peer_up& news) {
    auto& places = places_of(news.who.kind);
    if (news.who.index >= index_max)
      return false;
    if (news.who.index >= places.size())
      places.resize(news.who.index + size_t{1});
    auto& entry = places[news.who.index];
    if (entry.who.incarnation > news.who.incarnation)
      return false;
    entry = news;
    return true;
  }

  /// Returns false if that incarnation was not known.
  bool down(const peer_down& news) {
    if (!alive(news.who))
      return false;
    places_of(news.who.kind)[news.who.index] = {};
    return true;
  }

  bool alive(const address& who) const {
    return find(who) != nullptr;
  }

  /// The incarnation running now in that place.
  std::optional<address> current(role kind, uint32_t index) const {
    const auto& places = places_of(kind);
    if (index >= places.size() || !places[index].who.valid())
      return std::nullopt;
    return places[index].who;
  }

  /// Calls `visit(address)` for every actor of that role, by index.
  template <class Visit>
  void each(role kind, Visit visit) const {
    for (const auto& entry : places_of(kind))
      if (entry.who.valid())
        visit(entry.who);
  }

  /// Sends one message to exactly that incarnation; returns false if it is not there. Nothing else happens then: the
  /// initiator's timer or `peer_down` decides.
  template <class Message>
  bool tell(const address& to, Message&& message) const {
    const auto* entry = find(to);
    if (entry == nullptr)
      return false;
    // Without a sender: every message between actors with addresses names it in `from`, which survives the wire.
    post(entry->handle, std::forward<Message>(message));
    return true;
  }

  void clear() {
    places_ = {};
  }

private:
  static constexpr auto index_max = uint32_t{1} << 20;

  using places = std::vector<peer_up>; // by index; without an address where nobody is

  places& places_of(role kind) {
    return places_[static_cast<size_t>(kind)];
  }
  const places& places_of(role kind) const {
    return places_[static_cast<size_t>(kind)];
  }
  const peer_up* find(const address& who) const {
    const auto& at = places_of(who.kind);
    return who.valid() && who.index < at.size() && at[who.index].who == who ? &at[who.index] : nullptr;
  }

  std::array<places, static_cast<size_t>(role_max) + 1> places_; // by role
};

} // namespace perigee
