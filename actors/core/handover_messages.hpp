// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/client_messages.hpp"
#include "actors/core/error.hpp"
#include "actors/core/ids.hpp"
#include "actors/core/pipeline_messages.hpp"
#include "actors/core/store_messages.hpp"

#include <algorithm>
#include <vector>

namespace perigee {

// The hand-over of one attempt: session → prefill → decode → session. docs/protocol.md has a row for each message.

/// How one choice continues.
struct choice_start {
  uint32_t choice = 0;    ///< number among the client's `n`
  uint32_t generated = 0; ///< tokens of it that have been streamed; they stand at the end of the job's tokens
};

/// What prefill and decode must know to produce tokens.
struct generation {
  kernels::sampling_params sampling; ///< a choice ends at one of its `stop_ids`
  uint32_t prompt_tokens = 0;    ///< of the client's prompt; the rest of the job's tokens were generated
  uint32_t max_tokens = 0;       ///< per choice, counted from the prompt's end
  std::vector<choice_start> choices;

  /// Whether a choice that has `generated` tokens, `last` the newest, goes on.
  finish_reason finish_after(token_id last, uint32_t generated) const {
    const auto& ends = sampling.stop_ids;
    if (std::find(ends.begin(), ends.end(), last) != ends.end())
      return finish_reason::stop;
    return generated >= max_tokens ? finish_reason::length : finish_reason::none;
  }
};

/// The work of one attempt. Initiator: session, after `placed`; repeated until `job_ack` or `job_failed`. Goes to the
/// decode instance itself where the placement names it as the prefill instance: then there is no hand-over.
struct prefill_job {
  address from;
  ticket id;
  uint64_t term = 0;
  uint32_t revision = 0;
  uint64_t placement = 0;
  address decode;
  shared_list<token_id> tokens;
  block_key root;
  generation gen;
  std::vector<prefix_segment> prefix;
  uint64_t deadline_ns = 0; ///< from now
  shared_list<block_key> keys; ///< of the blocks of `tokens`, as in `submit`
  pipeline group = {};
};

/// The prefill instance has the job.
struct job_ack {
  address from;
  ticket id;
};

/// The attempt is over at this instance. Initiator: prefill; sent once, with the reason. What makes it reliable is the
/// `failed` finish that the instance repeats in its token batches. The session submits the next attempt.
struct job_failed {
  address from;
  ticket id;
  ec reason = ec::none;
};

/// Asks a decode instance for the slots of a job's tokens, and briefs it. Initiator: prefill, just before its first layer
/// runs; repeated until `granted` or `refused`.
struct reserve {
  address from;
  ticket id;
  uint64_t term = 0;
  uint32_t revision = 0;
  uint64_t placement = 0;
  address session;
  shared_list<token_id> tokens;
  block_key root;
  generation gen;
  uint64_t deadline_ns = 0;
  std::vector<address> stages = {}; ///< who writes into the slots beside `from`
};

/// `slots` for the job's tokens, in order; `no_slot` for blocks it has. Each write into them ends in `immediate`.
/// `tells_first`: a step takes so long that the first token, sent when it is computed, could be followed later than
/// promised; the decode instance tells it after it has joined, and prefill tells only what ends with it.
struct granted {
  address from;
  ticket id;
  transport::remote_region region;
  std::vector<uint32_t> slots;
  uint32_t immediate = 0;
  bool tells_first = false;
};

struct refused {
  address from;
  ticket id;
  uint32_t revision = 0;
  ec reason = ec::none;
};

/// Everything has been written in `pieces` transfers; the first token of each choice was sampled. Initiator: prefill;
/// repeated until `joined` or `refused`.
struct handed_over {
  address from;
  ticket id;
  std::vector<token_id> first_tokens; ///< one per choice
  uint32_t pieces = 0;
  uint64_t bytes = 0;
  uint32_t reused = 0; ///< tokens that were not computed
};

/// All announced pieces arrived; the prefill instance may forget the attempt.
struct joined {
  address from;
  ticket id;
};

/// The attempt ends without hand-over, and all writes of it have completed. Initiator: prefill; repeated until
/// `quiesced_ack`. Not `clean`: a write ended in an error after which it may still land, so the decode instance fences the
/// nodes of all writers before it reuses the slots.
struct quiesced {
  address from;
  ticket id;
  bool clean = true;
};

struct quiesced_ack {
  address from;
  ticket id;
};

/// New tokens of one choice; `tokens[0]` is generated token number `first`.
struct token_update {
  ticket id;
  uint32_t choice = 0;
  uint32_t first = 0;
  token_run tokens;
  finish_reason finish = finish_reason::none; ///< after `tokens`
  uint32_t reused = 0; ///< tokens of the job that prefill took from the cache
};

/// One message per step and session. Initiator: prefill (first tokens) and decode; what is not acknowledged is repeated.
struct token_batch {
  address from;
  std::vector<token_update> updates;
};

/// The session has the first `next` generated tokens of the choice, and the finish if `finished`.
struct token_ack {
  ticket id;
  uint32_t choice = 0;
  uint32_t next = 0;
  bool finished = false;
};

struct token_acks {
  address from;
  std::vector<token_ack> acks;
};

// Between an instance and the stream actor beside it. Local.

/// `written`: slots into which transfers wrote and that no earlier item named; a device with memory of its own takes them over
/// before it runs the item (kernels::stream::written).
struct run_prefill {
  kernels::prefill_work work;
  std::vector<uint32_t> written = {};
};

struct run_decode {
  kernels::decode_work work;
  std::vector<uint32_t> written = {}; ///< as in run_prefill
};

struct run_copy {
  kernels::copy_work work;
  std::vector<uint32_t> written = {}; ///< as in run_prefill
};

struct cancel_work {
  uint64_t id = 0;
};

struct layer_done {
  uint64_t id = 0;
  uint32_t layer = 0;
};

struct work_done {
  kernels::work_result result;
};

template <class Inspector>
bool inspect(Inspector& f, choice_start& x) {
  return f.object(x).fields(f.field("choice", x.choice), f.field("generated", x.generated));
}

template <class Inspector>
bool inspect(Inspector& f, generation& x) {
  return f.object(x).fields(f.field("sampling", x.sampling), f.field("prompt_tokens", x.prompt_tokens), f.field("max_tokens", x.max_tokens),
                            f.field("choices", x.choices));
}

template <class Inspector>
bool inspect(Inspector& f, prefill_job& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("id", x.id), f.field("term", x.term),
                            f.field("revision", x.revision), f.field("placement", x.placement),
                            f.field("decode", x.decode), f.field("tokens", x.tokens), f.field("root", x.root),
                            f.field("gen", x.gen), f.field("prefix", x.prefix),
                            f.field("deadline_ns", x.deadline_ns), f.field("keys", x.keys),
                            f.field("group", x.group));
}

template <class Inspector>
bool inspect(Inspector& f, job_ack& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("id", x.id));
}

template <class Inspector>
bool inspect(Inspector& f, job_failed& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("id", x.id), f.field("reason", x.reason));
}

template <class Inspector>
bool inspect(Inspector& f, reserve& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("id", x.id), f.field("term", x.term),
                            f.field("revision", x.revision), f.field("placement", x.placement),
                            f.field("session", x.session), f.field("tokens", x.tokens), f.field("root", x.root),
                            f.field("gen", x.gen), f.field("deadline_ns", x.deadline_ns),
                            f.field("stages", x.stages));
}

template <class Inspector>
bool inspect(Inspector& f, granted& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("id", x.id), f.field("region", x.region),
                            f.field("slots", x.slots), f.field("immediate", x.immediate),
                            f.field("tells_first", x.tells_first));
}

template <class Inspector>
bool inspect(Inspector& f, refused& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("id", x.id), f.field("revision", x.revision),
                            f.field("reason", x.reason));
}

template <class Inspector>
bool inspect(Inspector& f, handed_over& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("id", x.id), f.field("first_tokens", x.first_tokens),
                            f.field("pieces", x.pieces), f.field("bytes", x.bytes), f.field("reused", x.reused));
}

template <class Inspector>
bool inspect(Inspector& f, joined& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("id", x.id));
}

template <class Inspector>
bool inspect(Inspector& f, quiesced& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("id", x.id), f.field("clean", x.clean));
}

template <class Inspector>
bool inspect(Inspector& f, quiesced_ack& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("id", x.id));
}

template <class Inspector>
bool inspect(Inspector& f, token_update& x) {
  return f.object(x).fields(f.field("id", x.id), f.field("choice", x.choice), f.field("first", x.first),
                            f.field("tokens", x.tokens), f.field("finish", x.finish), f.field("reused", x.reused));
}

template <class Inspector>
bool inspect(Inspector& f, token_batch& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("updates", x.updates));
}

template <class Inspector>
bool inspect(Inspector& f, token_ack& x) {
  return f.object(x).fields(f.field("id", x.id), f.field("choice", x.choice), f.field("next", x.next),
                            f.field("finished", x.finished));
}

template <class Inspector>
bool inspect(Inspector& f, token_acks& x) {
  return f.object(x).fields(f.field("from", x.from), f.field("acks", x.acks));
}

template <class Inspector>
bool inspect(Inspector& f, run_prefill& x) {
  return f.object(x).fields(f.field("work", x.work), f.field("written", x.written));
}

template <class Inspector>
bool inspect(Inspector& f, run_decode& x) {
  return f.object(x).fields(f.field("work", x.work), f.field("written", x.written));
}

template <class Inspector>
bool inspect(Inspector& f, run_copy& x) {
  return f.object(x).fields(f.field("work", x.work), f.field("written", x.written));
}

template <class Inspector>
bool inspect(Inspector& f, cancel_work& x) {
  return f.object(x).fields(f.field("id", x.id));
}

template <class Inspector>
bool inspect(Inspector& f, layer_done& x) {
  return f.object(x).fields(f.field("id", x.id), f.field("layer", x.layer));
}

template <class Inspector>
bool inspect(Inspector& f, work_done& x) {
  return f.object(x).fields(f.field("result", x.result));
}

} // namespace perigee
