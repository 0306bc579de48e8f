// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/cache/block_index.hpp"
#include "actors/cache/index_feed.hpp"
#include "actors/core/membership.hpp"
#include "actors/core/transfer_messages.hpp"

#include <deque>
#include <map>
#include <set>
#include <variant>
#include <vector>

namespace perigee {

struct shard_limits {
  uint32_t ops_max = 4096; ///< operations remembered per client; more get an empty answer
  index_feed_limits feed;
  eviction rule = eviction::lru; ///< who goes when there is no room
  uint32_t copies_cool = copies_cool_default;
};

/// One message to another actor.
struct shard_output {
  address to;
  std::variant<leased, released, allocated, committed, lent_blocks, index_events, report> message;
};

/// What happened at a shard since its start.
struct shard_counters {
  uint64_t stored = 0;
  uint64_t evicted = 0;
  uint64_t leased_blocks = 0;
  uint64_t lent_blocks = 0;
  uint64_t missed_blocks = 0;   ///< asked for in a lease and not there
  uint64_t abandoned_slots = 0; ///< allocated, and freed only after a fence
  uint64_t stray_arrivals = 0;  ///< immediates of allocations that are over
  uint64_t stale = 0;           ///< requests of dead clients and of operations that are over
};

/// What a shard decides. Every request is idempotent by (client, operation); a repeated one gets its answer again.
/// Pure; times in ns. Nothing here may be called with messages the caller knows to be from another incarnation of this
/// shard.
///
/// I2: a slot that a client may have written to becomes free only when the client promised (release without `fence`) or
/// after the transport fenced the client's node: when it asked for that, died, or forgot the operation.
///
/// Lent blocks may be read for as long as a request lives. At most half of the slots are lent at a time, so that there
/// is room to store into.
class shard_core {
public:
  shard_core(address self, transport::remote_region region, uint32_t slots, uint64_t retry_ns, uint64_t report_ns,
             shard_limits limits = {});

  /// Of the transport actor; before the first request.
  void set_lane(uint32_t lane);

  void peer_up(const address& who);
  void peer_down(const address& who);

  void on_lease(const lease& ask);
  void on_release(const release& ask);
  void on_allocate(const allocate& ask);
  void on_commit(const commit& ask);
  void on_borrow(const borrow& ask);
  void on_return(const return_blocks& ask);
  void on_arrived(const arrived& news);
  void on_fenced(const node_fenced& news);

  void on_conductor(const conductor_hello& news, uint64_t now);
  void on_report_ack(const report_ack& news);
  void on_index_ack(const index_ack& news);

  /// Sends what became due. After every call above, and at the tick.
  void pump(uint64_t now);

  /// What is to be sent now, in order; forgets it.
  std::vector<shard_output> take_output();
  /// Nodes that the transport is to fence; each is answered to `on_fenced`.
  std::vector<fence_node> take_fences();

  const block_index& index() const noexcept {
    return index_;
  }

  const shard_counters& counters() const noexcept {
    return counters_;
  }

  /// Recounts everything and compares (I1, I5). For tests and simulations.
  bool check() const;

private:
  enum class op_state : uint8_t { leasing, writing, stored, ended };

  struct fresh_block {
    block_key key;
    uint32_t slot = 0;
    std::optional<block_key> before; // in its prefix
  };

  /// Keys and slots go in the order of the request; blocks that are pinned for it stand in `pinned`, parents first.
  struct operation {
    op_state state = op_state::ended;
    std::vector<uint32_t> slots; // as answered
    std::vector<uint32_t> pinned;
    std::vector<fresh_block> written; // allocated slots and what they will hold
    std::optional<uint32_t> inbound_index;
    uint32_t immediate = 0;
    uint32_t arrived = 0;
    std::optional<uint32_t> announced;
  };

  struct client {
    uint64_t open_from = 0;
    std::map<uint64_t, operation> ops;
  };

  struct inbound {
    uint32_t generation = 0;
    address client;
    uint64_t op = 0;
    bool open = false;
  };

  template <class Request>
  client* admit(const Request& ask);
  void forget_below(const address& who, client& it, uint64_t open_from);
  std::vector<uint32_t> end(operation& it);
  bool open_inbound(const address& who, uint64_t op, operation& it);
  void close_inbound(operation& it);
  void fill_allocation(operation& it, const std::vector<block_key>& keys);
  void store_if_complete(const address& who, uint64_t op, operation& it);
  void abandon(const address& who, std::vector<uint32_t> slots);
  void take_back(const std::vector<uint32_t>& slots);
  void send_report(uint64_t now);
  void note_changes();

  const address self_;
  const transport::remote_region region_;
  const uint64_t report_ns_;
  const shard_limits limits_;
  uint32_t lane_ = 0;

  block_index index_;
  index_feed feed_;
  std::set<address> alive_; // store clients
  std::map<address, client> clients_;
  std::set<block_key> writing_; // keys of open allocations
  std::vector<inbound> inbound_;
  std::deque<uint32_t> inbound_free_;
  std::map<uint64_t, std::vector<uint32_t>> fencing_; // slots that wait for a fence, by its id
  uint64_t fences_made_ = 0;
  uint32_t leases_ = 0;                                                 // pins of readers
  std::map<std::pair<address, uint64_t>, std::vector<uint32_t>> loans_; // by client and its number
  std::map<uint32_t, uint32_t> lent_;                                   // slots, and in how many loans they are

  address conductor_;
  uint64_t term_ = 0;
  uint64_t report_sequence_ = 0;
  uint64_t full_since_ = 0; // first full report of the term
  bool full_acked_ = false;
  uint64_t next_report_ = 0;

  shard_counters counters_;
  std::vector<shard_output> output_;
  std::vector<fence_node> fences_;
};

} // namespace perigee
