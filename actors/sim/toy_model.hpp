// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/kv_layout.hpp"
#include "kernels/stream.hpp"

#include <cstdint>
#include <span>
#include <unordered_set>
#include <vector>

namespace perigee::sim {

/// A model that is nothing but hashing, so that a simulation knows what every byte of KV and every token must be.
///
/// K and V of a position in a layer are one 64-bit *tag*: a hash of the tags of all earlier positions of that layer, of the
/// token and of the place. As in a real model every position reads all earlier ones, so wrong, foreign or stale KV anywhere
/// changes everything after it. The next token is a hash of the tags of the last position over all layers, and of (seed,
/// choice, index) unless greedy.
struct toy_model {
  uint32_t layers = 3;
  uint32_t block_tokens = 4;
  uint32_t context = 4096;
  token_id vocabulary = 97;
  token_id end_token = 0;
  uint32_t end_ppm = 20'000; ///< how often the end token follows
  uint64_t key = 1;          ///< two models with different keys have nothing in common

  /// Of one token, between two layers: the token and the word of its position.
  static constexpr uint64_t activation_bytes = 2 * sizeof(uint64_t);

  kernels::kv_layout layout() const {
    return {layers, block_tokens, uint64_t{block_tokens} * sizeof(uint64_t)};
  }

  /// What a position adds to the sum that later positions of its layer hash.
  static uint64_t weight(uint64_t tag, uint32_t position) noexcept;
  uint64_t tag(uint64_t sum_before, token_id token, uint32_t position, uint32_t layer) const noexcept;
  token_id next(std::span<const uint64_t> tags, const kernels::sample_request& request) const {
    return choose(fold(key, tags), request);
  }

  /// The two halves of `next`, for who runs the layers in parts: a word that begins as `key` goes through the tags of the
  /// last position, layer after layer, and chooses the token.
  static uint64_t fold(uint64_t word, std::span<const uint64_t> tags) noexcept;
  token_id choose(uint64_t word, const kernels::sample_request& request) const;

  /// Tags of `tokens`: `[position * layers + layer]`.
  std::vector<uint64_t> expected_tags(std::span<const token_id> tokens) const;

  /// What a fault-free run generates after `prompt` for one choice: up to `max_tokens`, the last one perhaps one of `end_ids`.
  std::vector<token_id> expected_tokens(std::span<const token_id> prompt, const kernels::sampling_params& sampling,
                                        uint32_t choice, uint32_t max_tokens,
                                        std::span<const token_id> end_ids) const;
};

/// The tags that a simulation may contain. Content that is none of them is torn, stale beyond use or never written.
class known_content {
public:
  /// Whoever computes KV on these tokens computes nothing but what is added here.
  void add(const toy_model& model, std::span<const token_id> tokens);

  bool contains(uint64_t tag) const {
    return tags_.contains(tag);
  }

private:
  std::unordered_set<uint64_t> tags_; // looked up only
};

} // namespace perigee::sim
