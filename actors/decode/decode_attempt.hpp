// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/handover_messages.hpp"
#include "actors/core/token_outbox.hpp"
#include "actors/decode/own_prompt.hpp"

#include <optional>
#include <vector>

namespace perigee {

/// One attempt at a decode instance: slots that prefill writes into, or a prompt that is computed here; then one
/// sequence per choice.
struct decode_attempt {
  enum class stage : uint8_t {
    transfer, ///< slots are granted; writes may land
    prompt,   ///< is computed here
    leaving,  ///< nobody wants it any more: waits for `quiesced` or a fence; a prompt for its fetch and its chunk
    running,
  };

  reserve job; ///< of a prompt computed here `from` is this instance
  stage at = stage::transfer;
  std::optional<own_prompt> prompt; ///< until `running`
  uint64_t deadline_ns = 0;
  std::vector<uint32_t> slots; ///< of the job's tokens; empty once `running`; those that are lent are above the pool's
  std::vector<uint32_t> lent;  ///< those, as long as the attempt lives
  uint64_t lent_by = 0;        ///< the fetch to give back; 0: none
  uint64_t fetch = 0;          ///< before slots are granted: what the local shard holds is being fetched; 0: not
  uint32_t here = 0;           ///< so many of the first blocks came from there: nobody else writes them
  uint32_t immediate = 0;      ///< of the inbound transfer
  uint32_t arrived = 0;
  std::optional<handed_over> announced;
  std::vector<address> writers; ///< who has not said, or died so that it need not say, that it writes here no more
  uint32_t fences = 0;          ///< that were asked for and not answered
  bool asks_stages = false;     ///< the head of the group is gone: the stages are asked themselves
  uint64_t retry_ns = 0;
  uint32_t open = 0; ///< sequences that have not ended
  uint64_t tokens_max = 0;
  std::optional<address> cancel_asked_by;
  bool tells_first = false; ///< prefill leaves first tokens to this instance
};

/// One choice being generated. The newest token has no KV yet.
struct decode_sequence {
  uint64_t order = 0; ///< of joining
  ticket id;
  decode_attempt* owner = nullptr; ///< outlives it
  token_outbox::stream* stream = nullptr; ///< its tokens' way to the session, unless `ends_after_step`
  uint32_t choice = 0;
  std::vector<token_id> fresh; ///< after the job's tokens
  std::vector<uint32_t> blocks;
  shared_list<uint32_t> listed; ///< the same for the device; made again when there are more
  bool in_step = false;
  std::optional<finish_reason> ends_after_step; ///< ended from outside while a step had it

  /// All its tokens, those of the job first.
  size_t size() const {
    return owner->job.tokens.size() + fresh.size();
  }
  std::vector<token_id> tokens() const {
    auto all = std::vector<token_id>{};
    all.reserve(size());
    all.insert(all.end(), owner->job.tokens.begin(), owner->job.tokens.end());
    all.insert(all.end(), fresh.begin(), fresh.end());
    return all;
  }
};

} // namespace perigee
