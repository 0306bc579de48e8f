// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/conductor/books.hpp"
#include "actors/core/outbox.hpp"
#include "actors/core/status_messages.hpp"
#include "actors/core/timing.hpp"
#include "actors/policy/load_view.hpp"

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

namespace perigee {

enum class admission : uint8_t {
  none,
  early, ///< refuse at placement if the predicted TTFT or the chosen decode's step would break the SLO now
};

struct conductor_options {
  address self; ///< its incarnation is the term
  timing times;
  cost_profile profile;
  uint32_t block_tokens = 16;
  std::string policy;
  admission admit = admission::none;
  uint64_t slo_ttft_ns = 30'000'000'000;
  uint64_t slo_tbt_ns = 100'000'000;
  uint32_t members_expected = 0;     ///< prefill, decode and shard actors of the configuration
  uint32_t waiting_requests_max = 4096;
  uint64_t waiting_tokens_max = 8'000'000;
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
  void on(uint64_t now_ns, const submit& request);
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
  void on(uint64_t now_ns, const route_decision& decision);
  /// The policy was silent: decides in its place.
  void decide_without_policy(uint64_t now_ns);

  /// Loads that the policy must hear of before the next query.
  std::vector<instance_load> take_load_changes();

  cluster_status status(uint64_t now_ns) const;
  std::optional<decision_record> decision_of(const request_id& request) const;

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
    uint64_t order = 0;
    uint64_t sort_key = 0;
    uint64_t ask_again_ns = 0;
    uint64_t number = 0;
    bool acked = false;
    uint64_t retry_ns = 0;
    placed answer;
    rejected refusal;
  };

  struct shard_feed {
    uint64_t epoch = 0;
    uint64_t next = 0;
  };

  static uint64_t to_ns(caf::timespan span) {
    return static_cast<uint64_t>(span.count());
  }
  bool settled(uint64_t now_ns) const;
  bool over_bounds(const submit& request) const;
  void enqueue(entry& waiting);
  void leave_queue(entry& waiting);
  void erase_request(std::map<request_id, entry>::iterator at);
  void reject(uint64_t now_ns, entry& waiting, ec reason, std::string detail, uint64_t retry_after_ns);
  void undo_attempts(uint64_t now_ns, const request_id& request, uint32_t attempt_max, uint64_t delay_ns);
  route_query make_query(uint64_t now_ns, const entry& waiting) const;
  std::optional<std::pair<ec, std::string>> impossible(const entry& waiting) const;
  uint64_t tokens_to_reserve(const submit& request) const;
  bool decode_has_room(const books::member& at, const submit& request) const;
  std::optional<std::string> refuse_early(uint64_t now_ns, const entry& waiting, const route_decision& decision) const;
  void place(uint64_t now_ns, entry& waiting, const route_decision& decision);
  std::vector<prefix_segment> plan(const entry& waiting, const books::member& prefill, uint32_t fetch_blocks) const;
  std::optional<uint32_t> local_shard(const address& instance) const;
  uint32_t own_blocks(const std::vector<std::span<const uint32_t>>& found, const std::vector<block_key>& keys,
                      const address& prefill) const;
  void adopt(uint64_t now_ns, const report& news);
  void learn(const report& news);

  conductor_options options_;
  uint64_t started_ns_;
  books books_;
  prefix_index index_;
  estimator estimate_;
  std::map<uint32_t, address> shards_;
  std::map<uint32_t, shard_feed> feeds_;
  std::map<address, uint64_t> hello_retry_ns_;
  std::set<address> sessions_;

  std::map<request_id, entry> requests_;
  std::deque<request_id> ask_;
  std::set<std::tuple<uint64_t, uint64_t, request_id>> held_; // sort key, order, request
  std::optional<request_id> outstanding_;
  route_query outstanding_query_;
  bool wake_ = false; ///< something freed since the last hold
  uint64_t orders_ = 0;
  uint64_t numbers_ = 0;
  uint64_t waiting_tokens_ = 0;

  uint64_t placements_ = 0;
  uint64_t rejections_ = 0;
  uint64_t redirections_ = 0;
  std::deque<decision_record> decisions_;
};

} // namespace perigee
