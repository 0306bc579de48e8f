// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/error.hpp"
#include "actors/core/ids.hpp"
#include "actors/core/pipeline_messages.hpp"
#include "actors/core/store_messages.hpp"

#include <string>
#include <vector>

namespace perigee {

// Between sessions and the Conductor, and between the Conductor and its policy.

/// Asks for a place. Initiator: session; repeated until `accepted`, `placed` or `rejected` came.
struct submit {
  address from;
  ticket id;
  uint32_t prompt_tokens = 0; ///< with the tokens already streamed, if this attempt resumes
  uint32_t max_tokens = 0;    ///< still to generate
  uint32_t choices = 1;
  shared_list<block_key> keys; ///< of the full blocks of the prompt
  std::string tenant;
  uint64_t deadline_ns = 0; ///< from now
};

/// The Conductor owns the request now.
struct accepted {
  address from;
  ticket id;
};

/// Where the request runs. Initiator: Conductor; repeated until `placed_ack`. A higher `revision` names another decode
/// instance for the same attempt.
struct placed {
  address from;
  uint64_t term = 0;
  ticket id;
  uint32_t revision = 0;
  uint64_t placement = 0; ///< number of the decision
  address prefill;
  address decode;
  std::vector<prefix_segment> prefix; ///< where the blocks of the prefix are, first block first
  pipeline group = {}; ///< who computes the prompt with `prefill`
};

struct placed_ack {
  address from;
  ticket id;
  uint32_t revision = 0;
};

/// Final for this attempt. Initiator: Conductor; a repeated `submit` gets it again.
struct rejected {
  address from;
  ticket id;
  ec reason = ec::none;
  std::string detail;
  uint64_t retry_after_ns = 0;
};

/// The request is over for its session (`outcome` none: it finished), or this attempt is to be undone. Initiator: session;
/// repeated until `withdrawn`. The Conductor passes it on as `cancel` to where the attempt was placed, unless it finished.
struct withdraw {
  address from;
  ticket id;
  ec outcome = ec::none;
};

struct withdrawn {
  address from;
  ticket id;
};

/// Undo an attempt and all lower ones of the request. Initiator: Conductor, to the prefill and the decode instance; when the
/// head of a group is gone, whoever a stage of it may write to, to that stage. Repeated until `cancelled`.
struct cancel {
  address from;
  uint64_t term = 0;
  ticket id;
};

/// The attempt holds nothing here any more, except slots that a write may still land in.
struct cancelled {
  address from;
  ticket id;
};

/// The decode instance refused: place the decode side again. (One that is lost ends the attempt: the Conductor tells the
/// session.) Initiator: prefill; repeated until `redirected`, which carries a higher revision or a reason, or a cancel.
struct redirect {
  address from;
  ticket id;
  uint32_t revision = 0; ///< of the placement that failed
};

struct redirected {
  address from;
  uint64_t term = 0;
  ticket id;
  uint32_t revision = 0;
  ec reason = ec::none; ///< set: there is no place; the attempt is over
  address decode;
};

/// What a policy knows about one instance: the Conductor's books, which hold the last report and every reservation since.
/// An instance of which a policy has no such message is unknown, not idle.
struct instance_load {
  address who;
  uint64_t free_at_ns = 0;      ///< prefill: predicted time (of the Conductor's clock) when what is placed here is done
  uint32_t requests = 0;        ///< placed here and not ended
  uint64_t tokens = 0;          ///< KV tokens reserved; prefill: prompts of what is placed here
  uint64_t tokens_capacity = 0; ///< KV tokens its pool holds
  uint32_t queued = 0;          ///< prefill: of `requests`, not computed yet
  uint64_t queued_tokens = 0;   ///< prefill: tokens of those that are not cached
  uint64_t cached_blocks = 0;   ///< prefill: blocks that its local shard holds
  uint64_t cache_capacity = 0;  ///< prefill: blocks that its local shard has room for
  uint32_t twin = 0;  ///< 1 + index of the instance of the other kind on the same device; 0: none
  bool spare = false; ///< the device begins in the role of the twin

  /// Predicted time until a request placed now would start.
  uint64_t queue_ns(uint64_t now_ns) const noexcept {
    return free_at_ns > now_ns ? free_at_ns - now_ns : 0;
  }
};

/// Loads that changed since the last such message. Local, or from the Conductor to a policy in another process.
struct instance_loads {
  std::vector<instance_load> items;
};

/// Predicted seconds of one decode step: constant + row * rows + token * context tokens.
struct step_cost {
  double constant = 0;
  double row = 0;
  double token = 0;

  uint64_t ns(double rows, double tokens) const {
    return static_cast<uint64_t>((constant + row * rows + token * tokens) * 1e9 + 0.5);
  }
};

/// One prefill instance as a candidate for one request.
struct candidate {
  uint32_t index = 0;          ///< of the prefill instance
  uint32_t own_blocks = 0;     ///< prefix blocks at its local shard, or being computed there
  uint64_t prefill_own_ns = 0; ///< predicted time with only those
};

/// A request as a policy sees it: lengths and predictions, never content.
struct route_query {
  uint64_t placement = 0;
  uint64_t now_ns = 0;
  uint32_t prompt_tokens = 0;
  uint32_t max_tokens = 0;
  uint32_t block_tokens = 0;
  uint32_t best_blocks = 0;         ///< longest prefix anywhere in the pool, computed already
  uint64_t prefill_best_ns = 0;     ///< predicted time with that prefix
  double prefill_error = 0;         ///< share by which prefill times were mispredicted lately, either way
  uint64_t transfer_ns_block = 0;   ///< predicted time to fetch one block from another node
  uint64_t source_backlog_ns = 0;   ///< predicted time until the node that holds that prefix has sent what was asked of it
  std::vector<candidate> candidates; ///< every live prefill instance, by index
  std::vector<uint32_t> decodes;     ///< every live decode instance that has room, by index
  std::string tenant;
  uint64_t arrived_ns = 0;      ///< at the Conductor
  uint32_t expected_output = 0; ///< tokens of all choices: what decode memory is reserved for
  uint64_t slo_ttft_ns = 0;
  uint64_t slo_tbt_ns = 0;
  step_cost step;               ///< of decode instances, as estimated
  bool fresh = true;            ///< asked for the first time
  bool refusable = true;        ///< false for what was accepted before: it is resumed or submitted again
  uint64_t sort_key = 0;        ///< what the last `hold` of this request said
  uint32_t held = 0;            ///< other requests that are held
  uint64_t held_ns = 0;         ///< their prefill times in all, each with the best prefix
  uint64_t held_key = 0;        ///< sort key of the first of them
  uint32_t shared_tokens_min = 0; ///< prompts with so many uncached tokens may be shared by a group; 0: none is
};

enum class verdict : uint8_t { place, hold, reject };

/// What one candidate would cost, term by term.
struct route_offer {
  uint32_t prefill = 0;
  uint64_t ttft_ns = 0;      ///< queue + transfer + prefill
  uint32_t fetch_blocks = 0; ///< prefix blocks to bring in from elsewhere beyond the own ones; 0 to compute them
  uint32_t own_blocks = 0;
  uint64_t queue_ns = 0;
  uint64_t transfer_ns = 0;
  uint64_t prefill_ns = 0;
  double score = 0; ///< what the policy compared: the least wins
};

/// `hold` keeps the request at the Conductor, in the order of (sort_key, arrival), until something frees or
/// `ask_again_ns` passed.
struct route_decision {
  uint64_t placement = 0;
  verdict what = verdict::hold;
  route_offer chosen; ///< of a hold: what is expected, if the policy can tell (`ttft_ns`, `prefill_ns`)
  uint32_t decode = 0;
  std::vector<route_offer> best; ///< the cheapest eight, for people
  uint64_t sort_key = 0;
  uint64_t ask_again_ns = 0;
  ec reason = ec::none;
  uint64_t view = 0; ///< version of the policy's view of the instances: how many changes it had seen
  bool at_decode = false; ///< by the Conductor alone: `chosen.prefill` is a decode instance; it computes the prompt
  std::vector<uint32_t> stages = {}; ///< by the Conductor alone: who runs the layers before those of `chosen.prefill`
  std::vector<uint32_t> spared = {}; ///< prefill instances that shall not be among `stages`
};

template <class Inspector>
bool inspect(Inspector& f, submit& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("id", x.id), f.field("prompt_tokens", x.prompt_tokens),
                            f.field("max_tokens", x.max_tokens), f.field("choices", x.choices),
                            f.field("keys", x.keys), f.field("tenant", x.tenant),
                            f.field("deadline_ns", x.deadline_ns));
}

template <class Inspector>
bool inspect(Inspector& f, accepted& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("id", x.id));
}

template <class Inspector>
bool inspect(Inspector& f, placed& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("term", x.term), f.field("id", x.id),
                            f.field("revision", x.revision), f.field("placement", x.placement),
                            f.field("prefill", x.prefill), f.field("decode", x.decode), f.field("prefix", x.prefix),
                            f.field("group", x.group));
}

template <class Inspector>
bool inspect(Inspector& f, placed_ack& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("id", x.id), f.field("revision", x.revision));
}

template <class Inspector>
bool inspect(Inspector& f, rejected& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("id", x.id), f.field("reason", x.reason),
                            f.field("detail", x.detail), f.field("retry_after_ns", x.retry_after_ns));
}

template <class Inspector>
bool inspect(Inspector& f, withdraw& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("id", x.id), f.field("outcome", x.outcome));
}

template <class Inspector>
bool inspect(Inspector& f, withdrawn& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("id", x.id));
}

template <class Inspector>
bool inspect(Inspector& f, cancel& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("term", x.term), f.field("id", x.id));
}

template <class Inspector>
bool inspect(Inspector& f, cancelled& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("id", x.id));
}

template <class Inspector>
bool inspect(Inspector& f, redirect& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("id", x.id), f.field("revision", x.revision));
}

template <class Inspector>
bool inspect(Inspector& f, redirected& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("term", x.term), f.field("id", x.id),
                            f.field("revision", x.revision), f.field("reason", x.reason),
                            f.field("decode", x.decode));
}

template <class Inspector>
bool inspect(Inspector& f, instance_load& x) {
  return f.object(x).fields(f.field("who", x.who), f.field("free_at_ns", x.free_at_ns), f.field("requests", x.requests),
                            f.field("tokens", x.tokens), f.field("tokens_capacity", x.tokens_capacity),
                            f.field("queued", x.queued), f.field("queued_tokens", x.queued_tokens),
                            f.field("cached_blocks", x.cached_blocks), f.field("cache_capacity", x.cache_capacity),
                            f.field("twin", x.twin), f.field("spare", x.spare));
}

template <class Inspector>
bool inspect(Inspector& f, instance_loads& x) {
  return f.object(x).fields(f.field("items", x.items));
}

template <class Inspector>
bool inspect(Inspector& f, step_cost& x) {
  return f.object(x).fields(f.field("constant", x.constant), f.field("row", x.row), f.field("token", x.token));
}

template <class Inspector>
bool inspect(Inspector& f, candidate& x) {
  return f.object(x).fields(f.field("index", x.index), f.field("own_blocks", x.own_blocks),
                            f.field("prefill_own_ns", x.prefill_own_ns));
}

template <class Inspector>
bool inspect(Inspector& f, route_query& x) {
  return f.object(x).fields(
    f.field("placement", x.placement), f.field("now_ns", x.now_ns), f.field("prompt_tokens", x.prompt_tokens),
    f.field("max_tokens", x.max_tokens), f.field("block_tokens", x.block_tokens), f.field("best_blocks", x.best_blocks),
    f.field("prefill_best_ns", x.prefill_best_ns),
    f.field("prefill_error", x.prefill_error), f.field("transfer_ns_block", x.transfer_ns_block),
    f.field("source_backlog_ns", x.source_backlog_ns), f.field("candidates", x.candidates),
    f.field("decodes", x.decodes), f.field("tenant", x.tenant), f.field("arrived_ns", x.arrived_ns),
    f.field("expected_output", x.expected_output), f.field("slo_ttft_ns", x.slo_ttft_ns),
    f.field("slo_tbt_ns", x.slo_tbt_ns), f.field("step", x.step), f.field("fresh", x.fresh),
    f.field("refusable", x.refusable),
    f.field("sort_key", x.sort_key), f.field("held", x.held), f.field("held_ns", x.held_ns),
    f.field("held_key", x.held_key), f.field("shared_tokens_min", x.shared_tokens_min));
}

template <class Inspector>
bool inspect(Inspector& f, verdict& x) {
  return inspect_enum(f, x, verdict::reject);
}

template <class Inspector>
bool inspect(Inspector& f, route_offer& x) {
  return f.object(x).fields(f.field("prefill", x.prefill), f.field("ttft_ns", x.ttft_ns),
                            f.field("fetch_blocks", x.fetch_blocks), f.field("own_blocks", x.own_blocks),
                            f.field("queue_ns", x.queue_ns), f.field("transfer_ns", x.transfer_ns),
                            f.field("prefill_ns", x.prefill_ns), f.field("score", x.score));
}

template <class Inspector>
bool inspect(Inspector& f, route_decision& x) {
  return f.object(x).fields(f.field("placement", x.placement), f.field("what", x.what), f.field("chosen", x.chosen),
                            f.field("decode", x.decode), f.field("best", x.best), f.field("sort_key", x.sort_key),
                            f.field("ask_again_ns", x.ask_again_ns), f.field("reason", x.reason),
                            f.field("view", x.view), f.field("at_decode", x.at_decode), f.field("stages", x.stages),
                            f.field("spared", x.spared));
}

} // namespace perigee
