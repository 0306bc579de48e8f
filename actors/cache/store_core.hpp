// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/cache/lent_pool.hpp"
#include "actors/core/membership.hpp"
#include "actors/core/store_messages.hpp"
#include "actors/core/transfer_messages.hpp"

#include <cstddef>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <variant>
#include <vector>

namespace perigee {

struct store_settings {
  address self;                        ///< role::store_client
  uint32_t pool_region = 0;            ///< the instance's pool in this node's fabric
  uint64_t block_bytes = 0;            ///< block of slot s starts at s * block_bytes, here and at every shard
  std::optional<uint32_t> local_shard; ///< preferred to publish to, while it lives
  uint64_t retry_ns = 0;
  uint64_t transfer_ns = 0;           ///< limit of each wait that brings no deadline of its own
  uint32_t jobs_max = 64;             ///< fetches and publishes at work
  uint32_t queue_max = 4096;          ///< waiting beyond that; more are answered at once with nothing done
  uint32_t ops_max = 1024;            ///< operations at shards, also those that only wait to be released
  std::optional<lent_pool> lent = {}; ///< the local shard's, if the instance can read there
};

/// Who asked, as the shell numbers them.
using store_owner = uint64_t;

/// One thing to tell somebody.
struct store_output {
  struct to_shard {
    address to;
    std::variant<lease, release, allocate, commit, borrow, return_blocks> message;
  };
  struct to_owner {
    store_owner owner = 0;
    std::variant<fetched, published, part_published> message;
  };
  std::variant<to_shard, to_owner, move_blocks, cancel_move> what;
};

/// What a store client decides. A fetch or publish is a job; it is made of operations at shards, each of which goes
/// lease → read → release or allocate → write → commit. Blocks that a fetch may have lent are borrowed from the local
/// shard first, under the number of the job, and returned when the owner gives them back. Pure; times in ns.
///
/// Every job is answered once: a fetch within its deadline and the time the transport needs to end a read; a publish
/// within three times `transfer_ns` (waiting, allocating, committing) and the time the transport needs to end a write.
/// A shard's `released`, and `committed` after a cancel, are awaited behind the answer.
///
/// I2 at the shard: an allocation is released plainly only if its write never started or the transport reported an
/// outcome that proves it over. After `timed_out` or `peer_lost`, or when a write left here and its arrival is not
/// confirmed by `committed` in time, it is released with `fence`. A write is posted once per allocation, or part of it,
/// and never stopped. A publish in parts that ends before its last part has writes that left here and are confirmed by
/// nothing: it too is released with `fence` (which costs nothing towards a shard of the same node).
///
/// What an owner had lent when it ended is returned only after `lent_after_ns`: its device may still read, and so may
/// its transfers, whose content somebody may use.
///
/// Jobs stand in store_core.cpp, their operations at shards in store_ops.cpp, loans in store_loans.cpp, publishes in
/// parts in store_parts.cpp.
class store_core {
public:
  explicit store_core(store_settings settings);

  void peer_up(const address& who, uint64_t now);
  void peer_down(const address& who, uint64_t now);

  void start(store_owner owner, const fetch& ask, uint64_t now);
  void start(store_owner owner, const publish& ask, uint64_t now);
  void add_part(store_owner owner, const publish_part& ask, uint64_t now);
  void cancel(store_owner owner, uint64_t id, uint64_t now);
  void give_back(store_owner owner, uint64_t id, uint64_t now);
  /// The owner ended: its jobs are cancelled and answered to nobody.
  void owner_gone(store_owner owner, uint64_t now);

  void on_leased(const leased& news, uint64_t now);
  void on_lent(const lent_blocks& news, uint64_t now);
  void on_released(const released& news, uint64_t now);
  void on_allocated(const allocated& news, uint64_t now);
  void on_committed(const committed& news, uint64_t now);
  void on_moved(const moved& news, uint64_t now);
  void tick(uint64_t now);

  /// What is to be sent now, in order; forgets it.
  std::vector<store_output> take_output();

  /// Jobs not answered yet.
  size_t open_jobs() const noexcept {
    return jobs_.size();
  }

  /// Operations that some shard may still know as open.
  size_t open_ops() const noexcept {
    return ops_.size();
  }

  /// Fetches of which something is lent.
  size_t open_loans() const noexcept {
    return loans_.size();
  }

  /// How long an owner's lent blocks are kept after its end: by then every transfer that it began is over.
  uint64_t lent_after_ns() const noexcept {
    return 4 * settings_.transfer_ns;
  }

  /// Compares jobs, operations and bounds. For tests and simulations.
  bool check() const;

private:
  static constexpr uint64_t never = UINT64_MAX;

  enum class op_state : uint8_t {
    leasing,    ///< until `leased`
    reading,    ///< until `moved`
    allocating, ///< until `allocated`
    writing,    ///< until `moved`
    committing, ///< until `committed`
    releasing,  ///< until `released`; no job waits for it
  };

  struct operation {
    address shard;
    op_state state = op_state::leasing;
    uint64_t job = 0; ///< 0 once nobody waits for it
    std::vector<block_key> keys;
    std::vector<uint32_t> slots; ///< ours, one per key
    uint64_t offset = 0;         ///< of the part of each block that is moved
    uint64_t bytes = 0;          ///< of that part; 0: all of it
    uint32_t blocks = 0;         ///< being read or written
    bool fence = false;          ///< releasing: a write of ours may still land
    // of a publish in parts
    std::vector<uint32_t> places;     ///< which of the job's blocks are written
    allocated there;                  ///< `slots`: one for each of these
    uint64_t written = 0;             ///< bytes of each
    uint32_t pieces = 1;              ///< writes that went well
    std::map<uint64_t, uint64_t> moves; ///< under way, with the part's offset
    bool failed = false;              ///< one did not
    uint64_t next_send = 0;
    uint64_t deadline = 0;
  };

  struct job {
    store_owner owner = 0;
    uint64_t id = 0;
    bool reads = false;
    bool begun = false;
    bool ending = false;   ///< cancelled, or its time is over
    bool orphaned = false; ///< its owner ended
    std::vector<block_key> keys;
    std::vector<uint32_t> slots;
    std::vector<prefix_segment> plan; ///< of a fetch
    std::optional<uint32_t> shard;    ///< of a publish: preferred to the local one
    uint64_t part_offset = 0;         ///< of a fetch, as in `fetch`
    uint64_t part_bytes = 0;
    uint32_t lend = 0;          ///< of a fetch: so many of the first blocks may be lent
    uint32_t borrowing = 0;     ///< blocks that the local shard was asked for
    std::vector<uint32_t> lent; ///< as in `fetched`
    size_t segment = 0;
    uint32_t done = 0; ///< blocks fetched, or stored
    uint64_t bytes = 0;
    uint64_t deadline = 0;
    std::set<uint64_t> ops; ///< that it waits for
    bool in_parts = false;
    std::deque<publish_part> parts; ///< that wait until the shard has granted slots
  };

  /// What an owner's fetch has borrowed from the local shard, or is about to.
  struct loan {
    uint64_t job = 0; ///< its number, also at the shard
    address shard;
    uint64_t return_at = never; ///< once the owner ended
  };

  void add(job added, uint64_t now);
  void run_queue(uint64_t now);
  void next_segment(uint64_t number, uint64_t now);
  void begin_publish(uint64_t number, uint64_t now);
  template <class T>
  static std::vector<T> part(const std::vector<T>& all, size_t first, size_t count) {
    auto begin = all.begin() + static_cast<std::ptrdiff_t>(first);
    return {begin, begin + static_cast<std::ptrdiff_t>(count)};
  }
  bool lends(const address& shard) const;
  void ask_to_lend(uint64_t number, const address& shard, uint32_t count);
  void return_loan(const loan& what);
  std::optional<address> home(const block_key& key, std::optional<uint32_t> preferred) const;
  bool live(const address& shard) const;
  bool open_op(uint64_t job, operation added, uint64_t now);
  void give_up(uint64_t number, uint64_t now);
  void finish(uint64_t number);
  void release_op(uint64_t op, bool fence, uint64_t now);
  void leave(uint64_t op, uint32_t stored);
  void read_done(uint64_t op, const moved& news, uint64_t now);
  void write_done(uint64_t op, const moved& news, uint64_t now);
  void send_parts(uint64_t op);
  void part_done(uint64_t op, const moved& news, uint64_t now);
  void settle_parts(uint64_t op, uint64_t now);
  void tell_part(const job& of, uint64_t offset);
  void op_overdue(uint64_t op, uint64_t now);
  void send_move(uint64_t op, move_blocks work, const std::vector<uint32_t>& there);
  operation* expect(uint64_t op, const address& from, op_state state);
  void send_op(uint64_t op, uint64_t now);
  uint64_t open_from(const address& shard) const;

  const store_settings settings_;
  std::map<uint32_t, address> shards_; // live ones, by index
  std::map<uint64_t, job> jobs_;
  std::map<std::pair<store_owner, uint64_t>, uint64_t> by_owner_;
  std::deque<uint64_t> queue_; // jobs that did not begin; some may have ended meanwhile
  uint32_t at_work_ = 0;
  std::map<uint64_t, operation> ops_;
  std::map<uint64_t, uint64_t> part_moves_; // of publishes in parts: move and operation
  std::map<std::pair<store_owner, uint64_t>, loan> loans_; // by owner and fetch
  uint64_t jobs_made_ = 0;
  uint64_t ops_made_ = 0;
  std::vector<store_output> output_;
};

} // namespace perigee
