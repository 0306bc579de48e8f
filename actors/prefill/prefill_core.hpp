// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/cache/block_pool.hpp"
#include "actors/core/handover_messages.hpp"
#include "actors/core/outbox.hpp"
#include "actors/core/reporter.hpp"
#include "actors/core/routing_messages.hpp"
#include "actors/core/store_messages.hpp"
#include "actors/core/timing.hpp"
#include "actors/core/token_outbox.hpp"
#include "actors/core/tombstones.hpp"
#include "actors/core/transfer_messages.hpp"
#include "kernels/kv_layout.hpp"

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <variant>
#include <vector>

namespace perigee {

struct prefill_options {
  address self;
  timing times;
  kernels::kv_layout layout;
  uint32_t slots = 0;       ///< of the working pool
  uint32_t region = 0;      ///< the pool's region of this node's fabric
  std::optional<uint32_t> local_shard; ///< asked for what the plan does not name
  uint32_t chunk_tokens = 512;
  uint32_t queue_max = 1024;
  bool keep_generated = true; ///< offer full blocks to the shards
};

/// One attempt at a prefill instance, from job to release. Blocks and positions count from the start of the prompt.
struct prefill_attempt {
  enum class stage : uint8_t {
    queued,    ///< has no slots yet
    fetching,  ///< the store client reads the prefix
    ready,     ///< waits for the stream
    computing, ///< chunks run, or wait between chunks
    computed,  ///< everything is computed and sampled; hand-over and publishing go on
    closing,   ///< cancelled or failed: waits until nothing touches its slots
  };
  enum class grant : uint8_t { none, asked, redirecting, granted, joined };

  prefill_job job;
  stage at = stage::queued;
  grant decode_side = grant::none;
  bool decode_knows = false; ///< a `reserve` was sent to `job.decode`: it must hear of the end
  uint64_t number = 0;       ///< local id for fetch and publish
  uint64_t deadline_ns = 0;
  std::vector<block_key> keys;
  std::vector<uint32_t> slots;
  uint32_t reused = 0;       ///< tokens not computed
  uint32_t fetched = 0;      ///< blocks that came from shards
  uint32_t submitted = 0;    ///< tokens whose KV is in the pool or being computed
  std::vector<token_id> first_tokens;
  bool finished_here = false; ///< every choice ended with its first token
  bool announced = false;     ///< handed_over was sent
  bool publishing = false;
  bool fetching = false;
  ec failure = ec::none; ///< why it is closing
  bool tell_session = false;
  std::optional<address> cancel_asked_by;
  granted where;
  struct write {
    uint32_t block_first = 0;
    uint32_t block_last = 0; ///< one past
    std::optional<uint32_t> layer; ///< nothing for all layers
  };
  std::vector<write> pending; ///< computed, and not handed to the transport yet
  std::set<uint64_t> moves;   ///< transfers in flight
  std::set<uint64_t> work;    ///< stream items in flight
  bool clean = true;          ///< no write ended in an error after which it may still land
  uint32_t pieces = 0;
  uint64_t bytes = 0;
  uint64_t busy_ns = 0;
  uint64_t retry_ns = 0;
  uint32_t tries = 0;
};

/// Everything a prefill instance decides and remembers, without actor, clock or I/O.
class prefill_core {
public:
  using messages = outbox<job_ack, job_failed, reserve, redirect, handed_over, quiesced, cancelled, token_batch, report>;
  using local_message = std::variant<fetch, publish, cancel_store, move_blocks, cancel_move, run_prefill, cancel_work>;

  explicit prefill_core(prefill_options options);

  void on(uint64_t now_ns, const peer_up& news);
  void on(uint64_t now_ns, const peer_down& news);
  void on(uint64_t now_ns, const conductor_hello& hello);
  void on(uint64_t now_ns, const report_ack& ack);
  void on(uint64_t now_ns, const prefill_job& job);
  void on(uint64_t now_ns, const cancel& order);
  void on(uint64_t now_ns, const redirected& answer);
  void on(uint64_t now_ns, const granted& answer);
  void on(uint64_t now_ns, const refused& answer);
  void on(uint64_t now_ns, const joined& answer);
  void on(uint64_t now_ns, const quiesced_ack& answer);
  void on(uint64_t now_ns, const token_acks& acks);
  void on(uint64_t now_ns, const fetched& answer);
  void on(uint64_t now_ns, const published& answer);
  void on(uint64_t now_ns, const moved& answer);
  void on(uint64_t now_ns, const layer_done& progress);
  void on(uint64_t now_ns, const work_done& answer);
  void tick(uint64_t now_ns);

  messages out;
  std::vector<local_message> local; ///< for the store client, the transport and the stream, in order

  const block_pool& pool() const {
    return pool_;
  }
  size_t attempts() const {
    return attempts_.size();
  }
  /// The device did not answer within its deadline: the instance must end.
  bool device_lost(uint64_t now_ns) const;

private:
  using attempt = prefill_attempt;

  attempt* find(const ticket& id);
  attempt* find_number(uint64_t number);
  void advance(uint64_t now_ns);
  void admit(uint64_t now_ns);
  bool waits_for_sibling(const attempt& next) const;
  void start_fetch(attempt& next, uint64_t now_ns);
  void start_compute(uint64_t now_ns);
  void run_chunk(attempt& next);
  void ask_decode(attempt& next, uint64_t now_ns);
  void ask_redirect(attempt& next, uint64_t now_ns);
  void push_writes(attempt& next);
  void computed(uint64_t now_ns, attempt& next, const kernels::work_result& result);
  void announce(attempt& next, uint64_t now_ns);
  void offer(attempt& next);
  void close(uint64_t now_ns, attempt& ended, ec reason, bool tell_session);
  void finish_if_quiet(uint64_t now_ns, const ticket& id);
  void send_report(uint64_t now_ns);
  void send_tokens(uint64_t now_ns, uint64_t retry_ns);

  prefill_options options_;
  block_pool pool_;
  std::map<ticket, attempt> attempts_;
  std::deque<ticket> queue_;               // in order of arrival, until computed
  std::map<uint64_t, ticket> by_number_;
  std::map<uint64_t, ticket> by_move_;
  struct work_item {
    ticket id;
    uint32_t block_first = 0;
    uint32_t block_last = 0;
    bool last = false;
    uint64_t since_ns = 0;
  };
  std::map<uint64_t, work_item> by_work_;
  /// Attempts that are gone here, and whose decode instance has not confirmed it yet.
  struct farewell {
    address decode;
    bool clean = true;
    uint64_t retry_ns = 0;
  };
  std::map<ticket, farewell> farewells_;
  tombstones over_;
  token_outbox tokens_;
  reporter reporter_;
  std::optional<address> local_shard_;
  bool device_broken_ = false;
  uint64_t numbers_ = 0;
};

} // namespace perigee
