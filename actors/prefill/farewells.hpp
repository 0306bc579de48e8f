// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/handover_messages.hpp"

#include <map>
#include <utility>
#include <vector>

namespace perigee {

/// Attempts that are gone at a prefill instance, and whose decode instance has not confirmed that yet: it may hold
/// slots for them. Each is told `quiesced` until it answers or dies.
class farewells {
public:
  farewells(const address& self, uint64_t retry_ns) : self_(self), retry_ns_(retry_ns) {}

  /// Returns what to send now. `clean` as in `quiesced`.
  quiesced part(const ticket& id, const address& decode, bool clean, uint64_t now_ns) {
    open_[id] = {decode, clean, now_ns + retry_ns_};
    return {self_, id, clean};
  }

  void on(const quiesced_ack& answer) {
    auto at = open_.find(answer.id);
    if (at != open_.end() && at->second.decode == answer.from)
      open_.erase(at);
  }

  /// Its slots are gone with it.
  void lost(const address& decode) {
    std::erase_if(open_, [&](const auto& item) { return item.second.decode == decode; });
  }

  /// What is to be repeated now, by ticket.
  std::vector<std::pair<address, quiesced>> due(uint64_t now_ns) {
    auto result = std::vector<std::pair<address, quiesced>>{};
    for (auto& [id, parting] : open_) {
      if (parting.retry_ns > now_ns)
        continue;
      parting.retry_ns = now_ns + retry_ns_;
      result.push_back({parting.decode, {self_, id, parting.clean}});
    }
    return result;
  }

  size_t size() const {
    return open_.size();
  }

private:
  struct parting {
    address decode;
    bool clean = true;
    uint64_t retry_ns = 0;
  };

  address self_;
  uint64_t retry_ns_;
  std::map<ticket, parting> open_;
};

} // namespace perigee
