// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/stream.hpp"

#include <span>
#include <vector>

namespace perigee::kernels {

/// The word of a counter-based generator at (seed, choice, index): the same wherever and whenever it is asked for.
/// Three rounds of SplitMix64's finalizer (Steele et al. 2014), one for each part.
uint64_t random_word(uint64_t seed, uint32_t choice, uint32_t index) noexcept;

/// What is wrong with a request to sample, or an ok status. `vocab` bounds the ids in the history.
status check_sample(const sample_request& request, uint32_t vocab);

/// Chooses one token from a row of logits: penalties, minimum length, temperature, top-k, top-p, in this order, then
/// one draw. Stateless but for scratch memory: any instance gives the same answer to the same question. Equal logits
/// rank by id, lowest first. Used by one thread at a time.
class sampler {
public:
  /// `request` must have passed `check_sample`. Returns -1 where no logit is a finite number.
  token_id sample(std::span<const float> logits, const sample_request& request);

private:
  struct candidate {
    float logit;
    token_id id;
  };

  void penalize(const sample_request& request);
  token_id draw(const sample_request& request, float highest);
  token_id draw_ranked(const sample_request& request, float highest, double word);

  std::vector<float> logits_;
  std::vector<uint32_t> counts_; ///< by id; all zero between calls
  std::vector<candidate> ranked_;
};

} // namespace perigee::kernels
