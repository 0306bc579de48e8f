// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/gateway/api_error.hpp"
#include "apps/gateway/chat_template.hpp"
#include "apps/gateway/metrics.hpp"
#include "kernels/stream.hpp"
#include "transport/base/block_key.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace perigee::gateway {

/// The seam between HTTP and the rest of the program. The gateway knows nothing below this header: production puts
/// sessions behind it, tests a script.

/// What the gateway must know about the model it fronts. Fixed while the gateway runs.
struct model_facts {
  std::string id;               ///< the name clients use
  int64_t created = 0;          ///< Unix seconds
  uint32_t context_tokens = 0;  ///< prompt and completion together
  uint32_t vocabulary = 0;      ///< token ids are in [0, vocabulary)
  uint32_t token_bytes_max = 0; ///< bytes of text the longest token can stand for; 0 where unknown
  std::vector<token_id> eos_ids;
  chat_format chat;
};

/// Text to tokens. Called from the gateway's worker thread; must be safe beside other callers. May throw `failure`.
class text_encoder {
public:
  virtual ~text_encoder() = default;

  /// `add_bos` puts the model's begin token in front where the model wants one. With `parse_special` the spellings of
  /// special tokens become these tokens, without it they are ordinary text. `text` is valid UTF-8.
  virtual std::vector<token_id> encode(std::string_view text, bool add_bos, bool parse_special) const = 0;
};

/// One prompt to complete, validated: ids are in the vocabulary, prompt + max_tokens fits the context.
struct completion_spec {
  std::string id;               ///< names the request in records; unique per gateway process and unguessable
  std::vector<token_id> prompt; ///< never empty
  uint32_t choices = 1;         ///< `n`
  uint32_t max_tokens = 16;     ///< of each choice
  /// `stop_ids` holds the model's end ids and the chat format's end of turn, or nothing with `ignore_eos`.
  /// `seed` is to be taken from the field below.
  kernels::sampling_params sampling;
  std::optional<uint64_t> seed;                ///< absent: whoever runs the request draws one
  std::vector<std::string> stop;               ///< strings that end a choice and are not part of its text
  std::chrono::milliseconds deadline{600'000}; ///< from `submit`; after it the sink gets an error (504)
  std::string user;                            ///< as the client gave it, for records only
};

/// Why a choice ended.
enum class finish_reason : uint8_t {
  stop,   ///< end of sequence, a stop id, a stop string
  length, ///< `max_tokens`
};

/// What one prompt took, all its choices together.
struct completion_summary {
  uint32_t prompt_tokens = 0;
  uint32_t completion_tokens = 0;
  uint32_t cached_tokens = 0;                        ///< prompt tokens whose KV was reused
  std::optional<std::chrono::nanoseconds> queued;    ///< submit until a prefill instance began, where known
  std::optional<std::chrono::nanoseconds> prefilled; ///< prefill's own time, where known
};

/// Receives one prompt's completion. Called from any thread, one call at a time; every call returns at once.
/// Order: `on_text` as text comes, `on_finish` once per choice after its last text, then `on_end` once. `on_error` may
/// come at any point instead and is then the last call. After `cancel` no call is owed, and late ones are ignored.
class completion_sink {
public:
  virtual ~completion_sink() = default;

  /// `text` is whole UTF-8 characters and may be empty (tokens whose text is withheld for now); `tokens` is how many
  /// tokens the choice has so far.
  virtual void on_text(uint32_t choice, std::string text, uint32_t tokens) = 0;
  virtual void on_finish(uint32_t choice, finish_reason reason) = 0;
  virtual void on_end(const completion_summary& summary) = 0;
  virtual void on_error(api_error error) = 0;
};

/// Names a submitted prompt for `cancel` and `set_paused`.
using request_handle = uint64_t;

enum class cancel_reason : uint8_t {
  client_gone, ///< the connection ended
  slow_client, ///< did not read its stream for too long
  abandoned,   ///< another prompt of the same HTTP request failed, the deadline passed, or the gateway stops
};

constexpr std::string_view to_string(cancel_reason reason) noexcept {
  switch (reason) {
  case cancel_reason::client_gone: return "client_gone";
  case cancel_reason::slow_client: return "slow_client";
  case cancel_reason::abandoned: return "abandoned";
  }
  return "unknown";
}

struct backend_health {
  bool ready = false;
  std::string detail; ///< one sentence for people, e.g. which part is missing
  /// While the model is being loaded: how much of it is there. Completions are refused, and nothing but `health` is asked.
  std::optional<uint32_t> loaded_percent = {};
};

/// What serves completions. The gateway calls it from its own thread (and `submit` never concurrently); no call may
/// block. Callbacks may be called from any thread, at most once, now or later; the gateway gives up on them after
/// `query_timeout`.
class backend {
public:
  virtual ~backend() = default;

  /// Takes over a prompt; a refusal comes through the sink (429 with `retry_after_s`). The backend drops the sink when
  /// the prompt has ended.
  virtual request_handle submit(completion_spec spec, std::shared_ptr<completion_sink> sink) = 0;

  /// Ends a prompt early. Unknown and ended handles are ignored.
  virtual void cancel(request_handle handle, cancel_reason reason) = 0;

  /// Asks to withhold further text (`paused`) or to go on, because the client does not read. Text that comes
  /// nevertheless waits in the gateway. Unknown and ended handles are ignored.
  virtual void set_paused(request_handle handle, bool paused) = 0;

  virtual backend_health health() const = 0;

  /// JSON text about the whole cluster.
  virtual void cluster_json(std::function<void(std::string)> reply) = 0;

  /// JSON text: the decision record of the prompt submitted as `id`; nothing where there is none (any more).
  virtual void request_json(const std::string& id, std::function<void(std::optional<std::string>)> reply) = 0;

  /// Gauges and counters kept elsewhere, for one scrape of /metrics: `perigee:num_requests_running`,
  /// `perigee:num_requests_waiting`, `perigee:kv_cache_usage_perc` and whatever else the cluster counts. Histograms
  /// belong into the registry.
  virtual void collect(std::function<void(std::vector<metric_family>)> reply) = 0;
};

} // namespace perigee::gateway
