// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/handover_messages.hpp"
#include "kernels/kv_layout.hpp"

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace perigee {

/// One piece of a prompt that the device computes at once.
struct prompt_chunk {
  uint32_t start = 0;       ///< first token
  uint32_t end = 0;         ///< one past the last token
  uint32_t block_first = 0; ///< first block it writes to
  uint32_t block_last = 0;  ///< one past
  bool last = false;        ///< ends with the prompt: the first tokens are sampled from it
};

/// `wanted` rounded down to whole blocks, at least one.
constexpr uint32_t whole_blocks(uint32_t wanted, uint32_t block_tokens) noexcept {
  return std::max(block_tokens, wanted / block_tokens * block_tokens);
}

/// The chunk after `start` tokens of a prompt of `total` tokens (`start < total`). Every chunk but the last ends with a
/// block, so that no block is written to by two chunks, whatever `start` is. `chunk_tokens` is at least one block.
inline prompt_chunk next_chunk(uint32_t start, uint32_t total, uint32_t chunk_tokens,
                               const kernels::kv_layout& layout) {
  auto block = layout.block_tokens;
  auto end = start + chunk_tokens < total ? (start + chunk_tokens) / block * block : total;
  return {start, end, start / block, layout.blocks_for(end), end == total};
}

/// What the device is asked for that chunk of `tokens`, whose blocks are in `slots`, or will be said; the last one
/// samples the first token of each choice.
inline kernels::prefill_work chunk_work(uint64_t id, const prompt_chunk& chunk, const shared_list<token_id>& tokens,
                                        std::span<const uint32_t> slots, const generation& gen) {
  auto work = kernels::prefill_work{};
  work.id = id;
  work.start = chunk.start;
  work.tokens = tokens.part(chunk.start, chunk.end - chunk.start);
  slots = slots.first(std::min<size_t>(slots.size(), chunk.block_last));
  work.blocks.assign(slots.begin(), slots.end());
  if (!chunk.last)
    return work;
  for (const auto& choice : gen.choices) {
    auto sample = kernels::sample_request{gen.sampling, choice.choice, choice.generated, gen.prompt_tokens, {}};
    if (gen.sampling.needs_history())
      sample.history.assign(tokens.begin(), tokens.end());
    work.samples.push_back(std::move(sample));
  }
  return work;
}

/// The item of one layer of a passage that computes all tokens from `start` on. `place_of(block)` says where that layer
/// of a block is; the last layer samples.
template <class PlaceOf>
kernels::prefill_work layer_work(uint64_t id, uint64_t passage, uint32_t layer, uint32_t start,
                                 const shared_list<token_id>& tokens, const kernels::kv_layout& layout,
                                 const generation& gen, PlaceOf&& place_of) {
  auto total = static_cast<uint32_t>(tokens.size());
  auto all =
    prompt_chunk{start, total, start / layout.block_tokens, layout.blocks_for(total), layer + 1 == layout.layers};
  auto work = chunk_work(id, all, tokens, {}, gen);
  work.layers = {layer, layer + 1};
  work.passage = passage;
  work.blocks.reserve(all.block_last);
  for (auto block = uint32_t{0}; block < all.block_last; ++block)
    work.blocks.push_back(place_of(block));
  return work;
}

} // namespace perigee
