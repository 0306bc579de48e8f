// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/conductor/books.hpp"
#include "actors/conductor/estimator.hpp"
#include "actors/conductor/prefix_match.hpp"
#include "actors/conductor/room_table.hpp"
#include "actors/core/outbox.hpp"
#include "actors/core/status_messages.hpp"
#include "actors/core/timing.hpp"
#include "actors/policy/admission.hpp"
#include "actors/policy/coupling.hpp"
#include "actors/policy/pipelining.hpp"

#include <boost/circular_buffer.hpp>

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

namespace perigee {

struct conductor_options {
  address self; ///< its incarnation is the term
  timing times;
  cost_profile profile;
  uint32_t block_tokens = 16;
  std::string policy;
  admission admit;
  uint64_t slo_ttft_ns = 30'000'000'000;
  uint64_t slo_tbt_ns = 100'000'000;
  uint32_t members_expected = 0;     ///< prefill, decode and shard actors of the configuration
  uint32_t waiting_requests_max = 4096;
  uint64_t waiting_tokens_max = 8'000'000;
  /// Decode memory is reserved for all of `max_tokens`, not only for what requests usually generate.
  bool reserve_max_tokens = false;
  /// Not `none`: there are no prefill instances; policies see each decode instance as one of both kinds.
  coupling coupled = coupling::none;
  std::optional<conditional> at_decode; ///< which prompts decode instances compute beside prefill instances
  uint32_t mixed_chunk_tokens = 1024;   ///< of a prompt that a decode instance computes, between two steps
  std::optional<pipelining> groups;     ///< which prompts several prefill instances compute together
  /// The policy decides which of the two instances on a device is used. Otherwise those that are spare are not.
  bool changes_roles = false;
};

/// Everything the Conductor decides and remembers, without actor, clock or I/O. Each `on` takes one message, `tick` the
/// passing of time; what is to be sent collects in `out`, and `next_query` says what to ask the policy.
class conductor_core {
public:
  using messages = outbox<accepted, placed, rejected, withdrawn, cancel, redirected, report_ack, index_ack,
                          conductor_hello>;

  conductor_core(conductor_options options, uint64_t now_ns);

  void on(uint64_t now_ns, const peer_up& news);
  void on(uint64_t now_ns, const peer_down& news);
  void on(uint64_t now_ns, submit request);
  void on(uint64_t now_ns, const placed_ack& ack);
  void on(uint64_t now_ns, const withdraw& request);
  void on(uint64_t now_ns, const redirect& request);
  void on(uint64_t now_ns, const cancelled& answer);
  void on(uint64_t now_ns, const report& news);
  void on(uint64_t now_ns, const index_events& news);
  void tick(uint64_t now_ns);

  /// The next request to decide about, or nothing; at most one is outstanding, so that each decision sees the
  /// reservations of those before it.
  std::optional<route_query> next_query(uint64_t now_ns);
  /// The policy's answer to the outstanding query.
  void on(uint64_t now_ns, route_decision answer);
  /// The policy was silent: decides in its place.
  void decide_without_policy(uint64_t now_ns);

  /// Loads that the policy must hear of before the next query.
  std::vector<instance_load> take_load_changes();

  cluster_status status(uint64_t now_ns) const;
  std::optional<decision_record> decision_of(const request_id& request) const;
  /// The newest decisions, oldest first; they are the last ones of `decisions_made`.
  const boost::circular_buffer<decision_record>& decisions() const {
    return decisions_;
  }
  uint64_t decisions_made() const {
    return decisions_made_;
  }

  const books& ledger() const {
    return books_;
  }
  const prefix_index& index() const {
    return index_;
  }
  size_t requests() const {
    return requests_.size();
  }

  messages out;

private:
  enum class stage : uint8_t { fresh, waiting, held, asked, placed, rejected };

  struct entry {
    submit request;
    stage at = stage::fresh;
    uint64_t arrived_ns = 0;
    uint64_t deadline_ns = 0;
    bool dated = false; ///< its deadline is looked after
    uint64_t order = 0;
    uint64_t number = 0;
    // while held, or since
    uint64_t sort_key = 0;
    uint64_t ideal_ns = 0;     ///< prefill with the best prefix, when it was last asked about
    uint64_t ask_again_ns = 0; ///< 0: when something frees, or when its turn comes
    uint64_t turn_ns = 0;      ///< as the first in order it is asked again then; 0: never held
    uint64_t pass = 0;         ///< the last round through the held ones in which it was asked
    // while placed
    bool acked = false;
    uint64_t retry_ns = 0;
    placed answer;
    rejected refusal;
  };

  struct shard_feed {
    uint64_t epoch = 0;
    uint64_t next = 0;
  };

  using held_place = std::tuple<uint64_t, uint64_t, request_id>; // sort key or time, order, request

  static uint64_t to_ns(caf::timespan span) {
    return static_cast<uint64_t>(span.count());
  }
  bool settled(uint64_t now_ns);
  void look_at_members();
  void wake() {
    wake_ = true;
    ++pass_;
  }
  bool over_bounds(const submit& request) const;
  void enqueue(entry& waiting);
  entry* first_asking();
  void date_waiting();
  void hold(uint64_t now_ns, entry& waiting, const route_decision& decision);
  entry* next_due(uint64_t now_ns);
  void leave_queue(entry& waiting);
  void leave_held(entry& waiting);
  void erase_request(const request_id& id);
  void reject(uint64_t now_ns, entry& waiting, ec reason, std::string detail, uint64_t retry_after_ns);
  void answer_placed(uint64_t now_ns, entry& waiting);
  void undo_attempts(uint64_t now_ns, const request_id& request, uint32_t attempt_max, uint64_t delay_ns);
  route_query make_query(uint64_t now_ns, const entry& waiting);
  route_query make_coupled_query(route_query query, const submit& request);
  /// Who computes prompts that policies place.
  role prompt_role() const {
    return options_.coupled == coupling::none ? role::prefill : role::decode;
  }
  uint64_t prompt_ns(const books::member& at, uint64_t tokens, uint64_t reused) const;
  std::optional<route_decision> decide_at_decode(const route_query& query) const;
  uint64_t backlog_ns(uint64_t now_ns, uint32_t shard) const;
  std::optional<std::pair<ec, std::string>> impossible(const entry& waiting) const;
  uint64_t output_to_reserve(const submit& request) const;
  bool decode_has_room(const books::member& at, const submit& request) const;
  bool is_used(const books::member& at) const {
    return at.ready && (options_.changes_roles || !at.last.spare);
  }
  std::optional<refusal> judge(uint64_t now_ns, const entry& waiting, const route_decision& decision);
  void place(uint64_t now_ns, entry& waiting, const route_decision& decision);
  uint64_t reused_tokens(const entry& waiting, const route_decision& decision) const;
  group_times group_ns(uint64_t tokens, uint64_t reused, uint64_t stages) const;
  std::vector<const books::member*> stages_for(uint64_t tokens, const route_decision& decision) const;
  bool decodes_beside(const books::member& prefill) const;
  double crowd() const;
  void form_group(uint64_t now_ns, const entry& waiting, route_decision& decision) const;
  std::vector<prefix_segment> plan(const entry& waiting, std::optional<uint32_t> prefill, bool fetches);
  void reserve_sending(uint64_t now_ns, const address& prefill, const std::vector<prefix_segment>& segments);
  void append_loads(const books::member& at, std::vector<instance_load>& loads) const;
  entry* find_request(const request_id& id) const;
  void record(uint64_t now_ns, const ticket& id, route_decision decision, const std::string& policy);
  void take(uint64_t now_ns, route_decision decision, const std::string& policy);
  void adopt_prompt(placement& found, const load_item& item, const report& news) const;
  void adopt(uint64_t now_ns, const report& news);
  void learn(uint64_t now_ns, const report& news);
  void resend_placed(uint64_t now_ns);
  void drop_overdue(uint64_t now_ns);

  conductor_options options_;
  uint64_t started_ns_;
  bool settled_ = false;
  prefix_index index_;
  books books_{index_};
  room_table rooms_;
  prefix_match match_; ///< of the outstanding query
  uint32_t source_ = UINT32_MAX; ///< shard from which its best prefix would be read
  locality where_;
  bool members_changed_ = false; ///< who is there, where, or how much it holds, since `look_at_members`
  estimator estimate_;
  std::vector<address> shards_; // by index; not valid where there is none
  std::map<uint32_t, shard_feed> feeds_;
  std::vector<uint64_t> sent_at_ns_; ///< by node: predicted time when it has sent what fetches asked of it
  std::map<address, uint64_t> hello_retry_ns_;
  std::set<address> sessions_;
  uint64_t prefill_capacity_ = 0; ///< tokens that the largest instance holds
  uint64_t decode_capacity_ = 0;

  boost::unordered_flat_map<request_id, std::unique_ptr<entry>, request_hash> requests_;
  std::deque<std::pair<uint64_t, request_id>> ask_;     // in order, never asked; some are gone by now
  size_t asking_ = 0;                                   // those that are not
  std::set<held_place> held_;                           // in order of their sort keys
  std::set<held_place> held_due_;                       // by time
  std::set<std::pair<uint64_t, request_id>> deadlines_; // of what had no place at the last tick, and has none
  std::vector<request_id> undated_;                     // what came since; nearly all of it is placed at once
  std::deque<std::pair<uint64_t, request_id>> resend_;  // placed, by time; some are acknowledged by now
  std::deque<std::pair<uint64_t, request_id>> forget_;  // rejected, by time
  std::optional<request_id> outstanding_;
  route_query outstanding_query_; ///< without candidates and decode instances
  bool wake_ = false; ///< something freed: the held ones are asked in order until one is held again
  uint64_t pass_ = 0;
  uint64_t orders_ = 0;
  uint64_t numbers_ = 0;
  uint64_t waiting_tokens_ = 0;
  uint64_t held_ns_ = 0; ///< ideal times of what is held

  uint64_t placements_ = 0;
  uint64_t rejections_ = 0;
  uint64_t redirections_ = 0;
  uint64_t decisions_made_ = 0;
  boost::circular_buffer<decision_record> decisions_;
};

} // namespace perigee
