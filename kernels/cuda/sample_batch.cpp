// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/sample_batch.hpp"

#include "kernels/sampler.hpp"

#include <algorithm>

namespace perigee::kernels::cuda {

void sample_batch::add(uint32_t logits_row, const sample_request& request, uint32_t vocab) {
  const auto& p = request.params;
  auto row = sample_row{};
  // 53 random bits in [0, 1), as the processor's sampler takes them.
  row.word = static_cast<double>(random_word(p.seed, request.choice, request.generated) >> 11) * 0x1p-53;
  row.temperature = p.temperature;
  row.top_p = p.top_p;
  row.logits_row = logits_row;
  row.top_k = static_cast<uint32_t>(p.top_k);
  row.ranked = (row.top_k > 0 && row.top_k < vocab) || p.top_p < 1;
  row.repetition = p.repetition_penalty;
  row.presence = p.presence_penalty;
  row.frequency = p.frequency_penalty;
  auto begin = edits_.size();
  if (p.needs_history())
    for (auto i = size_t{0}; i < request.history.size(); ++i)
      edits_.push_back({request.history[i], i < request.prompt_tokens ? 0u : 1u});
  if (request.generated < p.min_tokens)
    for (auto id : p.stop_ids)
      edits_.push_back({id, forbidden});
  // One edit an id: `forbidden` wins, the others count.
  auto at = edits_.begin() + static_cast<ptrdiff_t>(begin);
  std::ranges::sort(at, edits_.end(), {}, &logit_edit::id);
  auto end = at;
  for (auto next = at; next != edits_.end(); ++next)
    if (end == at || std::prev(end)->id != next->id)
      *end++ = *next;
    else if (auto& same = std::prev(end)->generated; same == forbidden || next->generated == forbidden)
      same = forbidden;
    else
      same += next->generated;
  edits_.erase(end, edits_.end());
  row.edits_begin = static_cast<uint32_t>(begin);
  row.edits_end = static_cast<uint32_t>(edits_.size());
  rows_.push_back(row);
}

void sample_batch::add_nothing() {
  auto row = sample_row{};
  row.logits_row = no_row;
  rows_.push_back(row);
}

void sample_batch::clear() {
  rows_.clear();
  edits_.clear();
}

} // namespace perigee::kernels::cuda
