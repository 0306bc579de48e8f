// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/inspect_enum.hpp"

#include <cstdint>

namespace perigee {

/// Why a request, or one attempt at it, did not go on. What reaches a user says more in its `detail`.
enum class ec : uint8_t {
  none = 0,
  overloaded,      ///< refused at admission, or a queue is full; try again later
  no_instance,     ///< no prefill or no decode instance is alive
  deadline,        ///< the request's time ran out
  cancelled,       ///< the client went away or a higher attempt replaced this one
  stale,           ///< a message of an attempt that is over
  instance_failed, ///< the device or its memory failed
  peer_lost,       ///< the other instance is gone
  out_of_blocks,   ///< no KV slots; on decode, after preemption could free none
  too_long,        ///< does not fit into an instance's pool at all
  slow_client,     ///< the client did not read its answer
  draining,        ///< this gateway is shutting down
};

constexpr const char* to_string(ec code) noexcept {
  switch (code) {
  case ec::none: return "none";
  case ec::overloaded: return "overloaded";
  case ec::no_instance: return "no_instance";
  case ec::deadline: return "deadline";
  case ec::cancelled: return "cancelled";
  case ec::stale: return "stale";
  case ec::instance_failed: return "instance_failed";
  case ec::peer_lost: return "peer_lost";
  case ec::out_of_blocks: return "out_of_blocks";
  case ec::too_long: return "too_long";
  case ec::slow_client: return "slow_client";
  case ec::draining: return "draining";
  }
  return "unknown";
}

template <class Inspector>
bool inspect(Inspector& f, ec& x) {
  return inspect_enum(f, x, ec::draining);
}

} // namespace perigee
