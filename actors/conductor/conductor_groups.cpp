// SPDX-License-Identifier: Apache-2.0
#include "actors/conductor/conductor_core.hpp"

#include <algorithm>

// Chunked pipeline parallelism: which prefill instances compute a long prompt together.

namespace perigee {

/// Predicted time from the first chunk to the first token: while chunks get longer towards the end of a prompt, all of
/// them go through one stage, and the last one through the others.
uint64_t conductor_core::group_ns(uint64_t tokens, uint64_t reused, uint64_t stages) const {
  auto all_ns = estimate_.prefill_ns(tokens, reused);
  auto last = std::min<uint64_t>(options_.groups->chunk_tokens, tokens - reused);
  auto last_ns = all_ns - std::min(all_ns, estimate_.prefill_ns(tokens - last, std::min(reused, tokens - last)));
  return (all_ns + (stages - 1) * last_ns) / stages;
}

/// Who could be a stage of a group: has nothing to do but at most one prompt, and nor has a decode instance on its
/// device. Who is free first comes first, as first stages begin first.
std::vector<const books::member*> conductor_core::stages_for(uint64_t tokens, uint32_t but) const {
  auto found = std::vector<const books::member*>{};
  for (const auto* at : books_.instances(role::prefill)) {
    if (!is_used(*at) || at->who.index == but || at->queued > 1 || at->last.token_capacity < tokens
        || at->last.stages_max < 2)
      continue;
    const auto* twin = at->last.twin > 0 ? books_.find(role::decode, at->last.twin - 1) : nullptr;
    if (!twin || twin->open == 0)
      found.push_back(at);
  }
  auto free_at_ns = [](const books::member* at) { return at->queued == 0 ? 0 : at->free_at_ns; };
  std::stable_sort(found.begin(), found.end(),
                   [&](const auto* a, const auto* b) { return free_at_ns(a) < free_at_ns(b); });
  return found;
}

/// Adds stages to the decision if the first token is expected sooner so, the wait for the last of them counted.
void conductor_core::form_group(uint64_t now_ns, const entry& waiting, route_decision& decision) const {
  auto tokens = uint64_t{waiting.request.prompt_tokens};
  auto reused = reused_tokens(waiting, decision);
  if (tokens - reused < options_.groups->uncached_tokens_min)
    return;
  const auto& head = *books_.find(role::prefill, decision.chosen.prefill);
  auto others = stages_for(tokens, head.who.index);
  auto limit = std::min<uint64_t>({options_.groups->stages_max, head.last.stages_max, others.size() + 1});
  auto best_ns = decision.chosen.prefill_ns;
  auto best = uint64_t{1};
  for (auto stages = uint64_t{2}; stages <= limit; ++stages) {
    auto last = others.begin() + static_cast<ptrdiff_t>(stages) - 1;
    auto fits = std::all_of(others.begin(), last, [&](const auto* at) { return at->last.stages_max >= stages; });
    auto latest_ns = (*(last - 1))->queued == 0 ? 0 : (*(last - 1))->free_at_ns;
    auto takes_ns = group_ns(tokens, reused, stages) + (latest_ns > now_ns ? latest_ns - now_ns : 0);
    if (fits && takes_ns < best_ns) {
      best = stages;
      best_ns = takes_ns;
    }
  }
  for (auto i = size_t{0}; i + 1 < best; ++i)
    decision.stages.push_back(others[i]->who.index);
  if (best == 1)
    return;
  decision.chosen.ttft_ns -= std::min(decision.chosen.ttft_ns, decision.chosen.prefill_ns - best_ns);
  decision.chosen.prefill_ns = best_ns;
}

} // namespace perigee
