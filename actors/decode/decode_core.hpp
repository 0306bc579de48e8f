// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/cache/block_pool.hpp"
#include "actors/cache/lent_pool.hpp"
#include "actors/core/handover_messages.hpp"
#include "actors/core/inbound_transfers.hpp"
#include "actors/core/outbox.hpp"
#include "actors/core/reporter.hpp"
#include "actors/core/routing_messages.hpp"
#include "actors/core/store_messages.hpp"
#include "actors/core/timing.hpp"
#include "actors/core/token_outbox.hpp"
#include "actors/core/tombstones.hpp"
#include "actors/core/transfer_messages.hpp"
#include "actors/decode/decode_attempt.hpp"
#include "actors/decode/refusals.hpp"
#include "actors/policy/coupling.hpp"
#include "actors/policy/local_order.hpp"
#include "actors/prefill/chunk_plan.hpp"
#include "actors/prefill/coming_blocks.hpp"
#include "kernels/kv_layout.hpp"

#include <deque>
#include <map>
#include <optional>
#include <variant>
#include <vector>

namespace perigee {

struct decode_options {
  address self;
  timing times;
  kernels::kv_layout layout;
  uint32_t slots = 0;
  transport::remote_region region; ///< the pool, as peers address it
  uint32_t batch_max = 256;
  bool keep_generated = true; ///< offer full generated blocks to the shards
  // Of prompts that it computes itself:
  coupling coupled = coupling::none; ///< `prefill_first`: no step while there is a prompt to compute
  uint32_t chunk_tokens = 1024;      ///< at once, between two steps
  std::optional<uint32_t> local_shard; ///< asked for what the plan does not name
  local_order order = local_order::fifo;
  uint32_t prompts_max = 1024; ///< that wait or are being computed
  uint32_t twin = 0;          ///< 1 + index of the prefill instance on the same device; 0: none
  bool spare = false;         ///< the device begins as that
  std::optional<lent_pool> lent = {}; ///< the local shard's, if the stream can read there
  uint64_t slo_tbt_ns = 0;    ///< promised time between tokens; 0: none is
};

/// Everything a decode instance decides and remembers, without actor, clock or I/O. Ends and time stand in
/// decode_core.cpp, everything up to the join in decode_handover.cpp, the batch in decode_steps.cpp; prompts that it
/// computes itself in decode_prompts.cpp.
class decode_core {
public:
  using messages = outbox<granted, refused, joined, quiesced_ack, cancelled, token_batch, report, job_ack, job_failed,
                          cancel>;
  using local_message =
    std::variant<publish, fence_node, run_decode, run_copy, run_prefill, cancel_work, fetch, cancel_store, give_back>;

  explicit decode_core(decode_options options);

  /// The transport actor's lane for immediates; before anything else.
  void use_lane(uint32_t lane) {
    inbound_.use_lane(lane);
  }

  void on(uint64_t now_ns, const peer_up& news);
  void on(uint64_t now_ns, const peer_down& news);
  void on(uint64_t now_ns, const conductor_hello& hello);
  void on(uint64_t now_ns, const report_ack& ack);
  void on(uint64_t now_ns, reserve request);
  void on(uint64_t now_ns, prefill_job job);
  void on(uint64_t now_ns, const handed_over& news);
  void on(uint64_t now_ns, const quiesced& news);
  void on(uint64_t now_ns, const cancel& order);
  void on(uint64_t now_ns, const cancelled& answer);
  void on(uint64_t now_ns, const token_acks& acks);
  void on(uint64_t now_ns, const arrived& news);
  void on(uint64_t now_ns, const node_fenced& news);
  void on(uint64_t now_ns, const fetched& answer);
  void on(uint64_t now_ns, const published& answer);
  void on(uint64_t now_ns, const work_done& answer);
  void tick(uint64_t now_ns);

  messages out;
  std::vector<local_message> local;

  const block_pool& pool() const {
    return pool_;
  }
  size_t attempts() const {
    return attempts_.size();
  }
  /// Calls `visit(shard's index, slot there)` for each block that an attempt reads in place.
  template <class Visit>
  void each_lent(Visit visit) const {
    for (const auto& [id, at] : attempts_)
      for (auto slot : at.lent)
        visit(options_.lent->shard, slot - options_.lent->slot_first);
  }
  bool device_lost(uint64_t now_ns) const;

private:
  using attempt = decode_attempt;
  using sequence = decode_sequence;
  using stage = decode_attempt::stage;

  bool is_lent(uint32_t slot) const {
    return slot >= options_.slots;
  }
  /// Lent ones stay until the attempt ends, whoever reads them.
  void add_ref(uint32_t slot);
  void drop_ref(uint32_t slot);
  attempt* find(const ticket& id);
  void grant(const attempt& at);
  bool look_beside(attempt& fresh);
  void looked_beside(uint64_t now_ns, attempt& at, const fetched& answer);
  void try_join(uint64_t now_ns, const ticket& id);
  void fork(uint64_t now_ns, attempt& owner, const std::vector<token_id>& first_tokens, uint32_t reused);
  void admit_prompts(uint64_t now_ns);
  bool waits_for_sibling(const own_prompt& next) const;
  void start_fetch(attempt& next, uint64_t now_ns);
  void take_lent(attempt& next, const std::vector<uint32_t>& lent);
  void return_lent(const attempt& over);
  attempt* next_prompt(uint64_t now_ns);
  bool start_chunk(uint64_t now_ns);
  void chunk_done(uint64_t now_ns, const kernels::work_result& result);
  void prompt_computed(uint64_t now_ns, attempt& at, const kernels::work_result& result);
  void offer_prompt(own_prompt& prompt, const std::vector<uint32_t>& slots);
  void stores_no_more(own_prompt& prompt);
  void fail_prompt(uint64_t now_ns, const ticket& id, ec reason);
  void leave_prompt(attempt& unwanted);
  void free_if_quiet(const ticket& id);
  bool is_slow() const;
  bool breaks_gap(uint64_t now_ns) const;
  void tell_first_tokens();
  void step(uint64_t now_ns);
  bool has_block(const sequence& at) const;
  bool ensure_block(uint64_t order);
  void finish_step(uint64_t now_ns, const kernels::work_result& result);
  void end_sequence(uint64_t order, finish_reason reason, bool keep);
  void stop_sequence(uint64_t order, finish_reason reason);
  void end_attempt(const ticket& id);
  void stop_lower(uint64_t now_ns, const ticket& id);
  void leave(uint64_t now_ns, attempt& unwanted);
  void stop_attempt(uint64_t now_ns, const ticket& id, finish_reason reason);
  void free_transfer(const ticket& id);
  static bool writes(const address& who, const attempt& at);
  void writer_lost(uint64_t now_ns, attempt& written, const address& gone);
  void ask_stages(uint64_t now_ns, attempt& written);
  void fence(attempt& written, const address& writer);
  void after(uint64_t now_ns);
  void send_tokens(uint64_t now_ns, uint64_t retry_ns);
  void send_report(uint64_t now_ns);

  decode_options options_;
  block_pool pool_;
  std::map<ticket, attempt> attempts_;
  std::map<uint64_t, sequence> sequences_; // by order of joining: the oldest first
  inbound_transfers inbound_;
  refusals refused_;
  std::map<uint64_t, ticket> fences_;
  std::set<address> prefills_; // that live
  std::map<uint64_t, std::vector<uint32_t>> publishing_; // slots held until `published`
  std::deque<ticket> prompts_;    // in order of arrival, until computed
  std::deque<ticket> unadmitted_; // those that have no slots yet
  std::map<uint64_t, ticket> fetches_;
  coming_blocks coming_;
  struct offered {
    uint64_t number = 0; // of the prompt
    shared_list<block_key> keys;
    std::vector<uint32_t> slots;
  };
  std::map<uint64_t, offered> offered_; // prompts' blocks on their way to the shards; their sequences go on
  std::optional<address> local_shard_;
  struct chunk_item {
    uint64_t work = 0;
    ticket id;
    bool last = false;
    uint64_t since_ns = 0;
  };
  std::optional<chunk_item> chunk_; // stream item in flight
  std::optional<uint64_t> step_;                         // stream item in flight
  uint64_t step_since_ns_ = 0;
  uint64_t step_ns_ = 0;              ///< what the last step took
  std::vector<uint64_t> first_held_; ///< sequences, some of which may have ended, whose first token waits for the step
  std::vector<sequence*> step_rows_; // none of them ends before the step does
  uint64_t step_context_ = 0;
  struct copying {
    uint64_t since_ns = 0;
    std::vector<uint32_t> slots; // read and written: held until it ran
  };
  std::map<uint64_t, copying> copies_; // stream items in flight
  tombstones over_;
  tombstones joined_;
  token_outbox tokens_;
  reporter reporter_;
  bool device_broken_ = false;
  std::vector<uint32_t> written_; // slots handed over since the last stream item
  uint64_t numbers_ = 0;
  uint64_t orders_ = 0;
};

} // namespace perigee
