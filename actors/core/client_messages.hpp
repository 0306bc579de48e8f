// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/error.hpp"
#include "actors/core/ids.hpp"
#include "actors/core/inspect_kernels.hpp"
#include "actors/core/token_run.hpp"

#include <string>
#include <vector>

namespace perigee {

// Between an edge that has clients (the gateway, or a simulated traffic source) and its node's session actor. Local.

/// Why a choice ended.
enum class finish_reason : uint8_t {
  none = 0,  ///< it goes on
  stop,      ///< an end or stop id, or a stop string
  length,    ///< `max_tokens`, or the model's context is full
  preempted, ///< between decode and session only: decode ran out of blocks, the session submits it again
  failed,    ///< between instance and session only: this attempt is over, the session submits it again
};

constexpr const char* to_string(finish_reason reason) noexcept {
  constexpr const char* names[] = {"none", "stop", "length", "preempted", "failed"};
  return names[static_cast<size_t>(reason)];
}

/// A client's request, already validated and tokenized.
struct open_request {
  uint64_t client = 0; ///< the edge's own number; answers carry it
  shared_list<token_id> prompt;
  uint32_t max_tokens = 0;
  uint32_t choices = 1;
  kernels::sampling_params sampling; ///< a choice ends at one of its `stop_ids`
  bool seeded = false;               ///< `sampling.seed` was given by the client; otherwise the session draws one
  std::vector<std::string> stop;     ///< strings that end a choice; their text is not delivered
  std::string tenant;                ///< salt of the root key: caches are shared within a tenant only
  uint64_t deadline_ns = 0;          ///< from now; 0 for the configured request timeout
  /// Of the prompt's blocks, where the edge knows them; otherwise the session computes them. May name a partial last
  /// block, as public traces do.
  shared_list<block_key> keys;
};

/// The client is gone, or read too slowly; `reason` says which.
struct close_request {
  uint64_t client = 0;
  ec reason = ec::cancelled;
};

/// The session took the request; first of its answers, unless that is `client_error`. `request` names it in the Conductor's
/// records, for as long as its choices stay together.
struct client_opened {
  uint64_t client = 0;
  request_id request;
};

/// New text of one choice, in order, and ids of the tokens it came from. Text that may begin a stop string is withheld.
struct client_text {
  uint64_t client = 0;
  uint32_t choice = 0;
  std::string text;
  token_run tokens;
};

/// What one step gave several clients: in the place of that many messages.
struct client_texts {
  std::vector<client_text> items;
};

struct client_finish {
  uint64_t client = 0;
  uint32_t choice = 0;
  finish_reason reason = finish_reason::none;
};

/// After the last choice ended.
struct client_end {
  uint64_t client = 0;
  uint32_t prompt_tokens = 0;
  uint32_t completion_tokens = 0;
  uint32_t cached_tokens = 0; ///< prompt tokens that the first attempt's prefill did not compute
};

/// Instead of `client_end`.
struct client_error {
  uint64_t client = 0;
  ec code = ec::none;
  std::string detail;
  uint64_t retry_after_ns = 0; ///< with `overloaded`
};

template <class Inspector>
bool inspect(Inspector& f, finish_reason& x) {
  return inspect_enum(f, x, finish_reason::failed);
}

template <class Inspector>
bool inspect(Inspector& f, open_request& x) {
  return f.object(x).fields(f.field("client", x.client), f.field("prompt", x.prompt),
                            f.field("max_tokens", x.max_tokens), f.field("choices", x.choices),
                            f.field("sampling", x.sampling), f.field("seeded", x.seeded),
                            f.field("stop", x.stop), f.field("tenant", x.tenant),
                            f.field("deadline_ns", x.deadline_ns), f.field("keys", x.keys));
}

template <class Inspector>
bool inspect(Inspector& f, close_request& x) {
  return f.object(x).fields(f.field("client", x.client), f.field("reason", x.reason));
}

template <class Inspector>
bool inspect(Inspector& f, client_opened& x) {
  return f.object(x).fields(f.field("client", x.client), f.field("request", x.request));
}

template <class Inspector>
bool inspect(Inspector& f, client_text& x) {
  return f.object(x).fields(f.field("client", x.client), f.field("choice", x.choice), f.field("text", x.text),
                            f.field("tokens", x.tokens));
}

template <class Inspector>
bool inspect(Inspector& f, client_texts& x) {
  return f.object(x).fields(f.field("items", x.items));
}

template <class Inspector>
bool inspect(Inspector& f, client_finish& x) {
  return f.object(x).fields(f.field("client", x.client), f.field("choice", x.choice), f.field("reason", x.reason));
}

template <class Inspector>
bool inspect(Inspector& f, client_end& x) {
  return f.object(x).fields(f.field("client", x.client), f.field("prompt_tokens", x.prompt_tokens),
                            f.field("completion_tokens", x.completion_tokens),
                            f.field("cached_tokens", x.cached_tokens));
}

template <class Inspector>
bool inspect(Inspector& f, client_error& x) {
  return f.object(x).fields(f.field("client", x.client), f.field("code", x.code), f.field("detail", x.detail),
                            f.field("retry_after_ns", x.retry_after_ns));
}

} // namespace perigee
