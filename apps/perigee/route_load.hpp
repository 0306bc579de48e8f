// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/conductor/estimator.hpp"
#include "actors/core/interfaces.hpp"
#include "actors/sim/trace/trace.hpp"

#include <array>
#include <deque>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace perigee::cli {

/// Everything around a Conductor, without devices: one session, and all instances and shards of a cluster, in a closed
/// loop. It sends the requests of a trace one by one. When one is placed, an earlier one is computed and its new blocks are
/// stored, one before that ends, and the next is sent, with all messages that this takes. `send` takes what is for the
/// Conductor.
class route_load {
public:
  /// `prefills` instances with a shard beside each, `decodes` more. The trace must outlive it.
  route_load(std::span<const sim::trace_request> trace, uint32_t prefills, uint32_t decodes, uint64_t term);

  /// All members, and the first report of each. `handle` is what gets the Conductor's messages for all of them.
  template <class Send>
  void introduce(const caf::actor& handle, Send send) {
    for (const auto& who : members_)
      send(peer_up{who, handle});
    for (const auto& who : members_)
      send(first_report(who));
  }

  /// The shards hold so many blocks that no request has.
  template <class Send>
  void fill(uint64_t blocks, Send send) {
    for (uint64_t made = 0; made < blocks;)
      send(next_filling(made, blocks));
  }

  /// False after the last one.
  template <class Send>
  bool submit_next(Send send) {
    if (sent_ == trace_.size())
      return false;
    send(request(sent_++));
    return true;
  }

  /// What follows a placement, in a closed loop with the next request.
  template <class Send>
  void on(placed where, Send send) {
    after(std::move(where), send);
    submit_next(send);
  }

  /// Without the next request.
  template <class Send>
  void after(placed where, Send send) {
    send(placed_ack{session(), where.id, where.revision});
    computing_.push_back(std::move(where));
    if (computing_.size() > computing_max_) {
      auto done = std::move(computing_.front());
      computing_.pop_front();
      send(computed(done));
      if (auto fresh = newly_stored(done))
        send(std::move(*fresh));
      decoding_.push_back(std::move(done));
    }
    if (decoding_.size() > decoding_max_) {
      send(decoded(decoding_.front()));
      send(withdraw{session(), decoding_.front().id, ec::none});
      decoding_.pop_front();
    }
    ++placements_;
  }

  /// Events of the next shard in turn: it stored so many of the blocks that no request has, and evicted as many old ones.
  index_events churn(uint32_t blocks);

  /// Answers so far.
  uint64_t placements() const {
    return placements_;
  }

  const address& session() const {
    return members_.front();
  }
  const std::vector<shared_list<block_key>>& keys() const {
    return keys_;
  }

private:
  report next_report(const address& who);
  report first_report(const address& who);
  index_events next_filling(uint64_t& made, uint64_t blocks);
  static block_key filler(uint32_t shard, uint64_t number);
  submit request(uint64_t number) const;
  report computed(const placed& what);
  report decoded(const placed& what);
  std::optional<index_events> newly_stored(const placed& what);

  const std::span<const sim::trace_request> trace_;
  const uint32_t prefills_;
  const uint64_t term_;
  const size_t computing_max_;
  const size_t decoding_max_;
  const estimator costs_;
  std::vector<address> members_; // the session first
  std::vector<shared_list<block_key>> keys_; // by request
  std::vector<uint64_t> events_sent_;        // by shard
  std::vector<uint64_t> filled_;             // by shard: blocks that no request has, ever stored
  std::vector<uint64_t> evicted_;            // by shard: of those
  uint32_t churning_ = 0;                    // shard in turn
  std::array<std::vector<uint64_t>, static_cast<size_t>(role_max) + 1> reports_sent_; // by role and index
  std::deque<placed> computing_;
  std::deque<placed> decoding_;
  uint64_t sent_ = 0;
  uint64_t placements_ = 0;
};

} // namespace perigee::cli
