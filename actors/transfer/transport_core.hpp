// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/status_messages.hpp"
#include "actors/core/transfer_messages.hpp"
#include "actors/transfer/fabric_link.hpp"

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <variant>

namespace perigee {

/// A client of a transport actor, as its shell numbers them.
using transport_client = uint64_t;

struct transport_limits {
  uint64_t bytes_in_flight_max = uint64_t{32} << 20; ///< per peer; one larger transfer may go alone
  uint32_t queued_max = 4096;                        ///< per peer, waiting for credit or for the link
};

/// One thing to tell somebody.
struct transport_output {
  struct to_client {
    transport_client client = 0;
    std::variant<moved, node_fenced, arrived> message;
  };
  struct to_peer {
    address to;
    std::variant<fabric_hello, fabric_hello_ack> message;
  };
  std::variant<to_client, to_peer> what;
};

/// What a transport actor decides: which transfers go when, when one has failed, when a peer is fenced. Pure but for
/// its calls on the fabric; owned by the transport actor. Times in ns.
///
/// How a transfer ends, and what that proves about remote memory:
///  - ok: a read is here; a write has left local memory (its delivery is proven by its immediate alone);
///  - `exhausted`: it never started (queue full, no credit or no link within its deadline);
///  - `invalid_argument`: refused, it never started;
///  - `cancelled`: on request or because the link was renewed; nothing of it can land any more;
///  - `timed_out`, `peer_lost`: a read touches nothing any more; a write may still land, if its target lives.
/// A write that failed on the fabric is not reported at once: the link is renewed, and when the other side has fenced
/// its half it ends as `cancelled`. Only if that takes longer than `transfer_ns` it ends as `timed_out`. Cancelling a
/// write that was posted does not stop it: it ends as it would have, which is soon, and is worth more than a fence.
class transport_core {
public:
  transport_core(transport::fabric& fabric, address self, uint64_t transfer_ns, uint64_t retry_ns,
                 transport_limits limits = {});

  void peer_up(const address& who, uint64_t now);
  void peer_down(const address& who, uint64_t now);

  /// The client's lane, the same each time; nothing if all 64 are taken.
  std::optional<uint32_t> attach(transport_client client);
  /// It ended: its transfers are cancelled and reported to nobody.
  void client_gone(transport_client client, uint64_t now);

  void move(transport_client client, const move_blocks& work, uint64_t now);
  void cancel(transport_client client, uint64_t id, uint64_t now);
  void fence(transport_client client, const fence_node& what, uint64_t now);

  void hello(const fabric_hello& news, uint64_t now);
  void hello_ack(const fabric_hello_ack& news);

  void completed(const fabric_completed& news, uint64_t now);
  void arrived_here(const fabric_arrived& news);
  void fenced(const fabric_fenced& news, uint64_t now);

  void tick(uint64_t now);

  transport_status counters() const;

  /// What is to be told now, in order; forgets it.
  std::vector<transport_output> take_output();

  /// Recounts queues and credits and compares. For tests and simulations.
  bool check() const;

private:
  enum class phase : uint8_t {
    queued,  ///< waits for the link or for credit
    posted,  ///< the fabric has it
    ending,  ///< the fabric has it and was asked to end it
    proving, ///< a write that failed; the link is being renewed
  };

  struct job {
    transport_client client = 0;
    uint64_t client_id = 0;
    address peer;
    uint64_t bytes = 0;
    uint64_t deadline = 0; ///< of the present phase
    uint64_t epoch = 0;    ///< of the link when posted
    phase at = phase::queued;
    bool orphaned = false;   ///< nobody wants to know
    bool late = false;       ///< its deadline passed
    bool fence_used = false; ///< the link was renewed because it would not end
    transport::transfer work;
  };

  struct lane_of_peer {
    std::unique_ptr<fabric_link> link; ///< none for our own node
    std::deque<uint64_t> queue;
    uint64_t bytes = 0; ///< posted
    uint64_t renewals_seen = 0;
  };

  struct fence_wait {
    transport_client client = 0;
    uint64_t id = 0;
    uint32_t node = 0;
    uint64_t below = 0; ///< own node: jobs with lower numbers must have ended
  };

  lane_of_peer& peer(uint32_t node);
  bool gone(const address& who) const;
  void post_ready(uint32_t node, uint64_t now);
  void post(uint64_t number, job& work, lane_of_peer& to, uint64_t now);
  void settle(uint32_t node, uint64_t now);
  void settle_failed_write(uint64_t number, const status& why, uint64_t now);
  void settle_failed(uint64_t number, const status& why, uint64_t now);
  void end_early(uint64_t number, job& work, uint64_t now);
  void overdue(uint64_t number, job& work, uint64_t now);
  void drop_queue(uint32_t node, const status& why);
  void unqueue(uint64_t number, const job& work);
  void finish(uint64_t number, status outcome, uint64_t bytes = 0);
  void answer_fences();
  void tell(transport_client client, std::variant<moved, node_fenced, arrived> message);

  transport::fabric& fabric_;
  const address self_;
  const uint64_t transfer_ns_;
  const uint64_t retry_ns_;
  const transport_limits limits_;

  uint64_t numbers_ = 0;
  std::map<uint64_t, job> jobs_; // by number, which is also the fabric's id
  std::map<std::pair<transport_client, uint64_t>, uint64_t> by_client_;
  std::map<uint32_t, lane_of_peer> peers_;             // by node
  std::map<std::pair<role, uint32_t>, uint64_t> gone_; // highest incarnation known to be gone, by place
  std::map<std::pair<role, uint32_t>, uint64_t> seen_; // highest incarnation known, by place
  std::vector<fence_wait> fence_waits_;
  std::array<transport_client, 64> lanes_{}; // 0 for free
  std::vector<transport_output> output_;
};

} // namespace perigee
