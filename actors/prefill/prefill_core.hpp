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
#include "actors/policy/local_order.hpp"
#include "actors/prefill/coming_blocks.hpp"
#include "actors/prefill/farewells.hpp"
#include "actors/prefill/prefill_attempt.hpp"
#include "kernels/kv_layout.hpp"

#include <deque>
#include <map>
#include <optional>
#include <variant>
#include <vector>

namespace perigee {

struct prefill_options {
  address self;
  timing times;
  kernels::kv_layout layout;
  uint32_t slots = 0;                  ///< of the working pool
  uint32_t region = 0;                 ///< the pool's region of this node's fabric
  std::optional<uint32_t> local_shard; ///< asked for what the plan does not name
  uint32_t chunk_tokens = 512;
  uint32_t queue_max = 1024;
  local_order order = local_order::fifo;
  bool keep_generated = true; ///< offer full blocks to the shards
  uint32_t twin = 0;          ///< 1 + index of the decode instance on the same device; 0: none
  bool spare = false;         ///< the device begins as that
};

/// Everything a prefill instance decides and remembers, without actor, clock or I/O. Jobs, ends and time stand in
/// prefill_core.cpp, prefix and chunks in prefill_compute.cpp, the decode side in prefill_handover.cpp.
class prefill_core {
public:
  using messages =
    outbox<job_ack, job_failed, reserve, redirect, handed_over, quiesced, cancelled, token_batch, report>;
  using local_message = std::variant<fetch, publish, cancel_store, move_blocks, cancel_move, run_prefill, cancel_work>;

  explicit prefill_core(prefill_options options);

  void on(uint64_t now_ns, const peer_up& news);
  void on(uint64_t now_ns, const peer_down& news);
  void on(uint64_t now_ns, const conductor_hello& hello);
  void on(uint64_t now_ns, const report_ack& ack);
  void on(uint64_t now_ns, prefill_job job);
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
  using stage = attempt::stage;
  using grant = attempt::grant;

  attempt* find(const ticket& id);
  attempt* find_number(uint64_t number);
  void advance(uint64_t now_ns);
  void admit(uint64_t now_ns);
  bool waits_for_sibling(const attempt& next) const;
  void stores_no_more(attempt& at);
  void start_fetch(attempt& next, uint64_t now_ns);
  void start_compute(uint64_t now_ns);
  attempt* next_to_compute(uint64_t now_ns);
  void run_chunk(attempt& next, uint64_t now_ns);
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
  std::deque<ticket> queue_;      // in order of arrival, until computed
  std::deque<ticket> unadmitted_; // those of the queue that have no slots yet, in order
  coming_blocks coming_;
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
  farewells farewells_;
  tombstones over_;
  token_outbox tokens_;
  reporter reporter_;
  std::optional<address> local_shard_;
  bool device_broken_ = false;
  std::vector<uint32_t> written_; ///< slots that were fetched since the last stream item
  uint64_t numbers_ = 0;
};

} // namespace perigee
