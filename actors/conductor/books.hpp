// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/conductor/prefix_index.hpp"
#include "actors/core/membership.hpp"
#include "actors/core/routing_messages.hpp"

#include <boost/container/small_vector.hpp>
#include <boost/unordered/unordered_flat_map.hpp>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

namespace perigee {

/// For tables that are looked up only, never iterated for a decision.
struct request_hash {
  size_t operator()(const request_id& id) const noexcept {
    return id.session * 0x9e3779b97f4a7c15u ^ id.number;
  }
};

/// Predicted times of a prompt that instances compute together, one after the other. Of one instance alone: no steps.
struct group_times {
  uint64_t takes_ns = 0;      ///< from the first chunk at the first stage to the first token
  uint64_t first_step_ns = 0; ///< each stage begins that much after the one before
  uint64_t last_step_ns = 0;  ///< and is done that much after it

  /// When the first chunk begins, at the earliest `now_ns`: when each stage is free by the time that a chunk gets there.
  /// `free_ns`: when they are free, first stage first.
  uint64_t begin_ns(std::span<const uint64_t> free_ns, uint64_t now_ns) const {
    auto begins_ns = now_ns;
    for (auto i = size_t{0}; i < free_ns.size(); ++i)
      begins_ns = std::max(begins_ns, free_ns[i] - std::min(free_ns[i], i * first_step_ns));
    return begins_ns;
  }
};

/// One decision that may still hold something somewhere. Where one instance has both sides, they end together.
struct placement {
  uint64_t number = 0;
  ticket id;
  address session;
  address prefill;
  std::vector<address> stages; ///< prefill instances that compute it with `prefill`: open there as long as there
  address decode;
  uint32_t revision = 0;
  bool prefill_open = false;   ///< the prefill instance has not reported its end
  bool decode_open = false;
  bool computed = false;       ///< the prefill instance has reported that its prompt is computed
  bool counts_at_decode = false; ///< among what is open at `decode`; not where it counts as a prompt there already
  group_times times;           ///< reserved at `prefill`, the last stage, and at each of `stages`
  uint64_t soonest_ns = 0;     ///< predicted end of the prefill if nothing was before it; 0 where that is not known
  bool was_first = false;      ///< nothing was before it
  uint64_t uncached_tokens = 0; ///< to be computed at `prefill`
  uint64_t decode_tokens = 0;  ///< reserved at `decode`
  uint64_t prompt_tokens = 0;
  bool adopted = false;        ///< an instance told of it: what was asked for is not known
  uint32_t choices = 1;
  shared_list<block_key> keys; ///< blocks that `prefill` will hold when it is done
  std::optional<uint64_t> cancel_at_ns; ///< from then on both sides are told to undo it; set by `books::cancel_at` alone

  /// The decode instance computes the prompt itself.
  bool is_local() const noexcept {
    return prefill == decode;
  }
};

/// The Conductor's books: what each instance has been given and not yet reported as ended. Every reservation is made by
/// the decision itself and released exactly once (I5): by the instance's report, its answer to a cancel, or its death.
class books {
public:
  struct member {
    address who;
    bool ready = false; ///< has reported in this term
    report last;
    uint32_t open = 0; ///< placements that are open here
    bool changed = false; ///< the policy is to hear of it
    uint64_t tokens = 0;     ///< decode: reserved; prefill: prompts
    // prefill: what is not computed yet
    uint32_t queued = 0;
    uint64_t queued_ns = 0; ///< predicted, without what has already run of the first
    uint64_t queued_tokens = 0;
    uint64_t free_at_ns = 0;
    uint64_t last_end_ns = 0; ///< the newest prompt cannot be computed before, as it was given then
    uint64_t heard_ns = 0;    ///< when the last news of a computed prompt came
    // decode: what is past its prefill; the rest of `open` and `tokens` is still to come
    uint32_t running = 0; ///< sequences
    uint64_t running_tokens = 0;
    uint32_t rows = 0; ///< sequences of all that is open
  };

  /// Tells `blocks`, which must outlive it, what prefill instances compute.
  explicit books(prefix_index& blocks) : blocks_(blocks) {}

  void member_up(const address& who);
  /// Releases everything that was open there.
  void member_down(const address& who, uint64_t now_ns);

  member* find(role kind, uint32_t index);
  const member* find(role kind, uint32_t index) const;
  /// Exactly that incarnation, or null.
  member* find(const address& who);
  const member* find(const address& who) const;
  const std::map<std::pair<role, uint32_t>, member>& members() const {
    return members_;
  }
  /// Those of `role::prefill` or `role::decode`, by index.
  const std::vector<const member*>& instances(role kind) const {
    return kind == role::decode ? decodes_ : prefills_;
  }
  /// The policy is to hear of it.
  void mark_changed(const address& who) {
    if (auto* at = find(who.kind, who.index))
      mark_changed(*at);
  }

  placement& open(placement entry, uint64_t now_ns);
  placement* placement_of(const ticket& id);
  const std::map<uint64_t, placement>& placements() const {
    return placements_;
  }
  /// Of one request: nearly always one attempt.
  using attempts = boost::container::small_vector<placement*, 1>;
  attempts placements_of(const request_id& request);
  /// Those whose session is that one.
  std::vector<placement*> placements_of(const address& session);

  /// The prompt is computed: the instance goes on with the next.
  void computed(placement& entry, uint64_t now_ns);
  /// All its tokens have come, and the instance has not told yet that it computed the prompt.
  void finished(placement& entry, uint64_t now_ns);
  /// How old the news is, as a median, that a prompt is computed: against when that was predicted.
  uint64_t news_age_ns() const {
    return news_age_ns_;
  }
  void close_prefill(placement& entry, uint64_t now_ns);
  void close_decode(placement& entry);
  /// Moves the decode side elsewhere.
  void move_decode(placement& entry, const address& decode);
  /// Forgets the placement if both sides are closed.
  void drop_if_closed(const placement& entry);

  /// From `at_ns` on both sides are told to undo it, unless an earlier time is set.
  void cancel_at(placement& entry, uint64_t at_ns);
  /// Placements whose time has come, each with its next time `again_ns` later.
  std::vector<placement*> due_cancels(uint64_t now_ns, uint64_t again_ns);

  instance_load load_of(const member& at) const;
  /// Members whose load changed since the last `take_changes`, in the order in which it first did.
  const std::vector<member*>& changes() const noexcept {
    return changed_;
  }
  template <class Visit>
  void take_changes(Visit visit) {
    for (auto* at : changed_) {
      at->changed = false;
      visit(std::as_const(*at));
    }
    changed_.clear();
  }

private:
  void mark_changed(member& at) {
    if (!at.changed)
      changed_.push_back(&at);
    at.changed = true;
  }
  /// Nearly always one: its prefill instance.
  using workers = boost::container::small_vector<member*, 8>;

  workers computing(const placement& entry);
  static uint64_t ahead_ns(const placement& entry, const workers& all, size_t i);
  workers leave_queue(const placement& entry);
  void pass_prefill(placement& entry);
  void learn_age(const placement& entry, const workers& all, uint64_t now_ns);
  void add_decode(placement& entry, member& at);
  void release_prefill(placement& entry, uint64_t now_ns);
  void release_decode(placement& entry);
  void list_instances();

  prefix_index& blocks_;
  std::map<std::pair<role, uint32_t>, member> members_;
  std::array<std::vector<member*>, static_cast<size_t>(role_max) + 1> by_place_; // the same by role and index
  std::vector<const member*> prefills_;
  std::vector<const member*> decodes_;
  std::map<uint64_t, placement> placements_;
  boost::unordered_flat_map<request_id, attempts, request_hash> by_request_; // looked up only
  std::set<std::pair<uint64_t, uint64_t>> cancels_; // due, number
  uint64_t news_age_ns_ = 0;
  std::vector<member*> changed_;
};

} // namespace perigee
