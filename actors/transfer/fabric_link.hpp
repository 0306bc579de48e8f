// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/transfer_messages.hpp"

#include <optional>
#include <set>
#include <string>
#include <vector>

namespace perigee {

/// What a link wants to say to the transport actor of its peer.
struct link_output {
  address to;
  fabric_hello hello;
};

/// Our endpoint for one other node and the pairing with theirs for us. Pure but for calls on the fabric; owned by the
/// transport actor.
///
/// An endpoint is used for one pairing only. Of two nodes the one with the lower number leads:
///  - the leader opens endpoint l and repeats hello(l) until it is answered;
///  - the follower fences what it had, then opens f, connects it to l and repeats hello(f, peer_epoch = l) until
///  acknowledged;
///  - the leader connects l to f.
/// Whoever wants to be rid of a pairing fences its own endpoint. A leader then begins again with l + 1. A follower asks
/// for that: hello(a, no endpoint, peer_epoch = the l it is done with), where a is an epoch of its own that gets no
/// endpoint. The leader drops what it has queued for the follower and names the highest a it has seen as peer_epoch of
/// its hellos, so that the follower can tell an endpoint that answers from one that was announced before. Neither says
/// anything about its next endpoint before its own fabric reported the last one as fenced. So news of a new pairing
/// prove that nothing written through the old one can still land at the other side: that is `proven_below`.
class fabric_link {
public:
  fabric_link(transport::fabric& fabric, address self, uint32_t node, uint64_t retry_ns);

  /// The transport actor of that node runs (again).
  void up(const address& who, uint64_t now);

  /// It is gone, with all its memory.
  void down(const address& who, uint64_t now);

  /// Drops the pairing: transfers in flight complete as `peer_lost`. A new pairing is made if the peer lives. What
  /// waits to be sent may have to do with what the fence was for; the owner drops it too (`renewals`).
  void renew(uint64_t now);

  /// From the peer; returns true if it is to be acknowledged.
  bool hello(const fabric_hello& news, uint64_t now);
  void hello_ack(const fabric_hello_ack& news);

  /// The fabric is through with that endpoint. Returns false if it is none of ours.
  bool fenced(transport::peer_id peer, uint64_t now);

  /// Returns true if it has something to say.
  bool tick(uint64_t now);

  bool alive() const noexcept {
    return who_.has_value();
  }

  /// Transfers may be posted to `peer`.
  bool ready() const noexcept {
    return open_ && bound_ != 0;
  }

  transport::peer_id peer() const noexcept {
    return peer_;
  }

  /// Counts our endpoints for that node, over all its incarnations.
  uint64_t epoch() const noexcept {
    return epoch_;
  }

  /// Writes posted through endpoints of lower epochs cannot land any more.
  uint64_t proven_below() const noexcept {
    return proven_below_;
  }

  /// No endpoint of an earlier pairing is still being fenced: none of the peer's writes through those can land.
  bool quiet() const noexcept {
    return fencing_.empty();
  }

  /// Grows whenever a pairing ended or was given up before it began.
  uint64_t renewals() const noexcept {
    return renewals_;
  }

  uint64_t fences() const noexcept {
    return fences_;
  }

  /// Says what is to be sent now, and forgets it.
  std::vector<link_output> take_output();

private:
  bool leads() const noexcept {
    return self_.node < node_;
  }
  bool hello_to_leader(const fabric_hello& news, uint64_t now);
  void asked_by_follower(const fabric_hello& news, uint64_t now);
  void hello_to_follower(const fabric_hello& news, uint64_t now);
  void close();
  void advance(uint64_t now);
  void open();
  bool connect(const std::string& endpoint);
  void say(uint64_t now);

  transport::fabric& fabric_;
  const address self_;
  const uint32_t node_;
  const uint64_t retry_ns_;
  std::optional<address> who_;
  std::set<transport::peer_id> fencing_;
  uint64_t epoch_ = 0;
  uint64_t proven_below_ = 0;
  uint64_t renewals_ = 0;
  uint64_t fences_ = 0;
  uint64_t next_say_ = 0;
  // The endpoint of `epoch_`.
  bool open_ = false;
  transport::peer_id peer_ = 0;
  std::string endpoint_;
  uint64_t bound_ = 0; // the peer's epoch that it is connected to
  bool acked_ = false; // follower: the leader has our answer
  uint64_t asked_ = 0; // leader: the highest request seen; follower: its own last one
  // Follower only.
  uint64_t led_ = 0;         // highest epoch the leader announced
  std::string led_endpoint_; // to pair with as soon as we are quiet; empty for none
  bool asking_ = false;      // for something above led_
  std::vector<link_output> output_;
};

} // namespace perigee
