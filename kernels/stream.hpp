// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/kv_layout.hpp"
#include "kernels/layer_split.hpp"
#include "transport/base/block_key.hpp"
#include "transport/base/shared_list.hpp"
#include "transport/base/status.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace perigee::kernels {

/// How one request chooses its tokens. Stateless: the random word for a token is a counter-based generator's value at
/// (seed, choice, position), so any instance continues where another stopped.
struct sampling_params {
  float temperature = 1.0f; ///< 0 means greedy
  float top_p = 1.0f;
  int32_t top_k = 0; ///< 0 means all
  float repetition_penalty = 1.0f;
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  uint64_t seed = 0;
  uint32_t min_tokens = 0;        ///< ids in `stop_ids` are not sampled before this many generated tokens
  std::vector<token_id> stop_ids; ///< end-of-sequence and stop ids (empty with `ignore_eos`); used with `min_tokens`
  friend bool operator==(const sampling_params&, const sampling_params&) = default;

  bool needs_history() const noexcept {
    return repetition_penalty != 1.0f || presence_penalty != 0.0f || frequency_penalty != 0.0f;
  }
};

/// Everything the sampler needs about the row it samples.
struct sample_request {
  sampling_params params;
  uint32_t choice = 0;           ///< which of the request's `n` completions
  uint32_t generated = 0;        ///< tokens this choice has so far; the sampled one has this index
  uint32_t prompt_tokens = 0;    ///< first `prompt_tokens` of `history` are the prompt
  std::vector<token_id> history; ///< prompt and generated tokens; may stay empty unless `params.needs_history()`
};

/// Computes K and V of `tokens` at positions `start`.. into the slots of `blocks`, reading positions [0, start) there.
/// Only `layers` run, where that is not all: what the layers before them made of the tokens is read from the blocks, at
/// `activations_at`, one token after the other, and what the last of them makes of the tokens is written there.
///
/// A *passage* takes the same tokens through all layers, each item of it through some. What the layers make of the
/// tokens stays in the stream from one item to the next, and `blocks` names places instead of slots, each of which holds
/// the item's layers of one block: place = slot * layers of the model + layer, so that a slot is as many places in a row
/// as the model has layers. A place need not be that of the item's own layers, and may be another for each item; those
/// of an item do not leave their slot.
struct prefill_work {
  uint64_t id = 0;
  shared_list<token_id> tokens;
  uint32_t start = 0;
  std::vector<uint32_t> blocks; ///< slots that cover positions [0, start + tokens); lent ones end before `start`
  std::vector<sample_request> samples; ///< empty, or one per choice: sampled from the last token's logits
  layer_span layers = {};
  uint64_t passage = 0; ///< the id of its first item, which runs layer 0; 0: the item is not part of one
};

/// One sequence of a decode step: `token` stands at `position`, its K and V are written there, the next token is
/// sampled.
struct decode_row {
  token_id token = 0;
  uint32_t position = 0;
  shared_list<uint32_t> blocks; ///< slots that cover positions [0, position]; the last one is not lent
  sample_request sample;
};

struct decode_work {
  uint64_t id = 0;
  std::vector<decode_row> rows;
};

/// Copies whole blocks within the pool (forking a partial tail).
struct copy_work {
  uint64_t id = 0;
  std::vector<std::pair<uint32_t, uint32_t>> slots; ///< from, to
};

struct work_result {
  uint64_t id = 0;
  status outcome;
  std::vector<token_id> tokens; ///< one per `samples` entry or per row
  uint64_t busy_ns = 0;         ///< time the device worked on it
};

/// Called on the stream's own thread; must not block.
class stream_events {
public:
  virtual ~stream_events() = default;
  /// Prefill only: K and V of the work's tokens in `layer`, and in its layers before it, are in the pool. In order,
  /// before `work_done`; a stream may tell of several layers at once, by the last of them.
  virtual void layer_done(uint64_t id, uint32_t layer) = 0;
  /// Exactly once per submitted item, in order of submission.
  virtual void work_done(work_result result) = 0;
};

/// The most items that may wait for one another in a stream; more are answered `exhausted`.
inline constexpr uint32_t stream_queue_max = 64;

/// The most passages that may be under way in a stream; an item that would begin one more is answered `exhausted`.
inline constexpr uint32_t stream_passages_max = 64;

/// One device queue with one model replica and its working pool. Items run in order of submission, one at a time.
/// `submit` may be called from one thread at a time and never blocks.
class stream {
public:
  virtual ~stream() = default;

  virtual const kv_layout& layout() const = 0;
  /// The working pool: `slots()` blocks laid out as `layout()` says. Owned by the stream.
  virtual std::span<std::byte> pool() = 0;
  virtual uint32_t slots() const = 0;
  /// Bytes of the activations of one block's tokens between two layers; 0: it runs all layers of a model or none, and answers
  /// `unsupported` to a part.
  virtual uint64_t activation_bytes_block() const {
    return 0;
  }
  /// Whether it takes passages. One that does not answers `unsupported` to their items.
  virtual bool by_layer() const {
    return false;
  }
  /// Tells that the caller wrote these slots through `pool()`; items submitted afterwards see it. Must be called before
  /// them where the device has memory of its own and `pool()` is a copy (kernels/cuda/cuda_stream.hpp); a stream that
  /// computes in `pool()` itself has nothing to do.
  virtual void written(std::vector<uint32_t> /*slots*/) {}

  /// Lends the stream memory of somebody else, of whole blocks that lie as in its pool. Work items may name these
  /// blocks by slots from the returned one on, wherever positions are only read: an item that would write to one is
  /// answered `invalid_argument`. Nothing where the device computes in memory of its own. Called while no item is
  /// unanswered; the memory must outlive the stream, and a block stay as it is while an item that names it is not
  /// answered.
  virtual std::optional<uint32_t> lend(std::span<const std::byte> /*memory*/) {
    return std::nullopt;
  }

  /// Wrong slots, positions or tokens are answered by `work_done` with `invalid_argument`. A full queue (stream_queue_max items) with
  /// `exhausted`.
  virtual void submit(prefill_work work) = 0;
  virtual void submit(decode_work work) = 0;
  virtual void submit(copy_work work) = 0;

  /// An item that has not started is answered as `cancelled`; one that runs is stopped within its current layer or after
  /// it, also as `cancelled`, and writes nothing afterwards. A passage ends with its last layer, with an item that fails
  /// or is stopped, and where its own id is given here: items of it that are submitted afterwards are answered
  /// `invalid_argument`, which by itself leaves a passage as it is.
  virtual void cancel(uint64_t id) = 0;
};

} // namespace perigee::kernels
