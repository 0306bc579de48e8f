// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <caf/timespan.hpp>

#include <chrono>
#include <cstdint>

namespace perigee {

/// Cores count in ns.
constexpr uint64_t to_ns(caf::timespan span) noexcept {
  return static_cast<uint64_t>(span.count());
}

/// Timeouts of the protocol. None of them limits how long a request may wait in a queue: that is its deadline's part.
struct timing {
  /// Every actor with an address looks after its retries and deadlines at this interval.
  caf::timespan tick = std::chrono::milliseconds{50};
  /// An unanswered message between nodes is repeated after this long.
  caf::timespan retry = std::chrono::milliseconds{250};
  /// Load reports, when nothing ended meanwhile.
  caf::timespan report = std::chrono::milliseconds{100};
  /// A one-sided transfer fails after this long, its peer is fenced if it does not even cancel within another such time.
  caf::timespan transfer = std::chrono::seconds{10};
  /// A device that answers nothing for this long is broken: its instance ends.
  caf::timespan device = std::chrono::seconds{120};
  /// A new Conductor collects registrations for at most this long before it places anything.
  caf::timespan settle = std::chrono::seconds{2};
  /// A policy that did not answer within this time is replaced for that decision.
  caf::timespan policy = std::chrono::milliseconds{50};
  /// The deadline of a request that brings none.
  caf::timespan request = std::chrono::seconds{600};
};

} // namespace perigee
