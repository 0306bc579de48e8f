// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/interfaces.hpp"
#include "transport/fabric.hpp"

namespace perigee {

/// Passes on what a fabric reports, from whichever thread, as messages to the transport actor that owns the fabric.
/// Holds the actor weakly: once it is gone, nothing is passed on.
class fabric_forwarder final : public transport::fabric_events {
public:
  explicit fabric_forwarder(caf::actor_addr to);

  void completed(uint64_t id, status result, uint64_t bytes) override;
  void arrived(transport::peer_id from, uint32_t immediate) override;
  void fenced(transport::peer_id peer) override;

private:
  template <class Message>
  void pass_on(Message message);

  caf::actor_addr to_;
};

} // namespace perigee
