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
#include "actors/policy/local_order.hpp"
#include "actors/prefill/chunk_plan.hpp"
#include "actors/prefill/coming_blocks.hpp"
#include "actors/prefill/farewells.hpp"
#include "actors/prefill/prefill_attempt.hpp"
#include "actors/prefill/prefix_plan.hpp"
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
  uint32_t slots = 0;                  ///< of the working pool
  uint32_t region = 0;                 ///< the pool's region of this node's fabric
  transport::remote_region remote = {}; ///< the same, as peers address it
  uint64_t activation_bytes_block = 0; ///< as the stream says; 0: it is in no group
  std::optional<uint32_t> local_shard; ///< asked for what the plan does not name
  uint32_t chunk_tokens = 512;
  uint32_t queue_max = 1024;
  local_order order = local_order::fifo;
  bool keep_generated = true; ///< offer full blocks to the shards
  bool by_layer = false; ///< the stream takes passages: prompts of several chunks are computed layer by layer
  uint32_t twin = 0;          ///< 1 + index of the decode instance on the same device; 0: none
  bool spare = false;         ///< the device begins as that
  std::optional<lent_pool> lent = {}; ///< the local shard's, if the stream can read there
};

/// Everything a prefill instance decides and remembers, without actor, clock or I/O. Jobs, ends and time stand in
/// prefill_core.cpp, prefix and chunks in prefill_compute.cpp, what goes layer by layer in prefill_layers.cpp, the decode
/// side in prefill_handover.cpp, groups in prefill_head.cpp and prefill_stage.cpp.
class prefill_core {
public:
  using messages =
    outbox<job_ack, job_failed, reserve, redirect, handed_over, quiesced, cancelled, token_batch, report, stage_job,
           stage_ready, stage_go, stage_progress, stage_release, stage_left, stage_left_ack, cancel>;
  using local_message =
    std::variant<fetch, give_back, publish, publish_part, cancel_store, move_blocks, cancel_move, fence_node,
                 run_prefill, cancel_work>;

  explicit prefill_core(prefill_options options);

  /// The transport actor's number for this client; before anything else.
  void use_lane(uint32_t lane) {
    inbound_.use_lane(lane);
  }

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
  void on(uint64_t now_ns, const part_published& answer);
  void on(uint64_t now_ns, const moved& answer);
  void on(uint64_t now_ns, const layer_done& progress);
  void on(uint64_t now_ns, const work_done& answer);
  void on(uint64_t now_ns, const stage_job& ask);
  void on(uint64_t now_ns, const stage_ready& answer);
  void on(uint64_t now_ns, const stage_go& order);
  void on(uint64_t now_ns, const stage_progress& news);
  void on(uint64_t now_ns, const stage_release& order);
  void on(uint64_t now_ns, const stage_left& news);
  void on(uint64_t now_ns, const stage_left_ack& ack);
  void on(uint64_t now_ns, const cancelled& answer);
  void on(uint64_t now_ns, const arrived& news);
  void on(uint64_t now_ns, const node_fenced& news);
  void tick(uint64_t now_ns);

  messages out;
  std::vector<local_message> local; ///< for the store client, the transport and the stream, in order

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
      for (auto slot : at.slots)
        if (is_lent(slot))
          visit(options_.lent->shard, slot - options_.lent->slot_first);
  }
  /// The device did not answer within its deadline: the instance must end.
  bool device_lost(uint64_t now_ns) const;

private:
  using attempt = prefill_attempt;
  using stage = attempt::stage;
  using grant = attempt::grant;

  bool is_lent(uint32_t slot) const {
    return slot >= options_.slots && slot != no_slot;
  }
  attempt* find(const ticket& id);
  attempt* find_number(uint64_t number);
  attempt* find_head(const ticket& id);
  attempt* find_stage(const ticket& id);
  struct work_item {
    ticket id;
    prompt_chunk chunk;
    uint32_t layer_next = 0; ///< the first that has not been reported
    uint32_t number = 0;     ///< of the chunk
    uint64_t since_ns = 0;
  };
  void stop_lower(uint64_t now_ns, const ticket& id);
  void advance(uint64_t now_ns);
  void admit(uint64_t now_ns);
  bool waits_for_sibling(const attempt& next) const;
  void stores_no_more(attempt& at);
  void start_fetch(attempt& next, uint64_t now_ns);
  void prefix_here(attempt& next, uint64_t now_ns);
  void take_lent(attempt& next, const std::vector<uint32_t>& lent);
  void fetch_planned(attempt& next, fetch_plan plan, std::span<const block_key> keys, uint64_t now_ns);
  void start_compute(uint64_t now_ns);
  attempt* next_to_compute(uint64_t now_ns);
  void run_chunk(attempt& next, uint64_t now_ns);
  // layer by layer
  bool may_go_by_layer(const attempt& next, uint32_t planned) const;
  bool take_slots(attempt& next);
  void settle_slots(attempt& next);
  struct load {
    uint32_t prompts = 0;
    uint64_t tokens = 0;
    void add(uint64_t more) {
      ++prompts;
      tokens += more;
    }
  };
  bool may_begin_layers(const attempt& next, load passing) const;
  void run_layer(attempt& next, uint64_t now_ns);
  void layer_computed(attempt& next, uint32_t layer);
  void offer_in_parts(attempt& next);
  void send_part(attempt& next, uint32_t layer);
  uint32_t place_of(const attempt& next, uint32_t block, uint32_t layer) const;
  uint64_t offset_of(const attempt& next, uint32_t block, uint32_t layer) const;
  void ask_decode(attempt& next, uint64_t now_ns);
  void ask_redirect(attempt& next, uint64_t now_ns);
  void push_writes(attempt& next);
  void push_write(attempt& next, const attempt::write& what, bool lent);
  void computed(uint64_t now_ns, attempt& next, const kernels::work_result& result);
  void announce(attempt& next, uint64_t now_ns);
  uint32_t first_offered(const attempt& next) const;
  void offer(attempt& next);
  void close(uint64_t now_ns, attempt& ended, ec reason, bool tell_session);
  void finish_if_quiet(uint64_t now_ns, const ticket& id);
  void report_computed(attempt& next);
  void fence(attempt& written, const address& writer);
  // the head of a group
  void form_group(attempt& head, const fetch_plan& plan, uint64_t now_ns);
  void dissolve_group(attempt& head, uint64_t now_ns);
  void begin_group(attempt& head, uint64_t now_ns);
  void start_group(attempt& head, uint64_t now_ns);
  void order(attempt& head, group_part::member& to, uint64_t now_ns);
  void member_lost(uint64_t now_ns, attempt& head, group_part::member& gone);
  void dismiss(attempt& head, uint64_t now_ns);
  void finish_gathering(attempt& head, uint64_t now_ns);
  void ask_stage(attempt& head, group_part::member& whom, uint64_t now_ns);
  void release(attempt& head, group_part::member& whom, uint64_t now_ns);
  void tick_head(uint64_t now_ns, attempt& head);
  void peer_lost(uint64_t now_ns, attempt& part, const address& gone);
  // a stage of a group
  void tell_ready(attempt& part);
  void pass_on(uint64_t now_ns, attempt& part, const work_item& done);
  void tell_progress(attempt& part, uint64_t now_ns);
  void orphan(uint64_t now_ns, attempt& part);
  void leave_if_quiet(uint64_t now_ns, attempt& part);
  void tick_stage(uint64_t now_ns, attempt& part);
  void tick_groups(uint64_t now_ns);
  void close_inbound(const attempt& ended);
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
  std::map<uint64_t, work_item> by_work_;
  inbound_transfers inbound_; // of the groups' activations and gathered layers
  std::map<uint64_t, ticket> fences_;
  std::set<address> prefills_; // that live, but for this one
  std::map<std::pair<ticket, address>, uint64_t> dismissed_; // of groups that did not come about; when to repeat
  struct departure {
    address head;
    stage_left news;
    uint64_t retry_ns = 0;
  };
  std::map<ticket, departure> left_; // stages that are over here and whose head has not confirmed that
  farewells farewells_;
  tombstones over_;
  token_outbox tokens_;
  reporter reporter_;
  uint32_t stages_max_ = 1;
  std::optional<address> local_shard_;
  bool device_broken_ = false;
  std::vector<uint32_t> written_; ///< slots that were fetched since the last stream item
  uint64_t numbers_ = 0;
};

} // namespace perigee
