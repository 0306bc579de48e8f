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

/// Who could be a stage of a group: has nothing to do but at most one prompt, nor has a decode instance on its device,
/// and the policy does not spare it. Who is free first comes first, as first stages begin first.
std::vector<const books::member*> conductor_core::stages_for(uint64_t tokens, const route_decision& decision) const {
  auto found = std::vector<const books::member*>{};
  for (const auto* at : books_.instances(role::prefill)) {
    auto is_spared = std::ranges::find(decision.spared, at->who.index) != decision.spared.end();
    auto is_head = at->who.index == decision.chosen.prefill;
    auto is_able = at->last.token_capacity >= tokens && at->last.stages_max >= 2;
    if (is_used(*at) && !is_spared && !is_head && is_able && at->queued <= 1 && !decodes_beside(*at))
      found.push_back(at);
  }
  auto free_at_ns = [](const books::member* at) { return at->queued == 0 ? 0 : at->free_at_ns; };
  std::stable_sort(found.begin(), found.end(),
                   [&](const auto* a, const auto* b) { return free_at_ns(a) < free_at_ns(b); });
  return found;
}

/// Prompts that wait or are computed, for each device that computes prompts.
double conductor_core::crowd() const {
  auto prompts = held_.size() + ask_.size();
  auto devices = size_t{0};
  for (const auto* at : books_.instances(role::prefill)) {
    if (!is_used(*at))
      continue;
    prompts += at->queued;
    devices += decodes_beside(*at) ? 0 : 1;
  }
  return static_cast<double>(prompts) / static_cast<double>(std::max<size_t>(1, devices));
}

/// Whether a decode instance on the same device is at work.
bool conductor_core::decodes_beside(const books::member& prefill) const {
  const auto* twin = prefill.last.twin > 0 ? books_.find(role::decode, prefill.last.twin - 1) : nullptr;
  return twin && twin->open > 0;
}

/// Adds stages to the decision if the first token is expected sooner so, the wait for the last of them counted, by more
/// than all others wait longer for it: what a group takes of device time beyond what one instance would take, it takes
/// from whoever waits, or comes while it runs, and of those each device has `crowd` many.
void conductor_core::form_group(uint64_t now_ns, const entry& waiting, route_decision& decision) const {
  auto tokens = uint64_t{waiting.request.prompt_tokens};
  auto reused = reused_tokens(waiting, decision);
  if (tokens - reused < options_.groups->uncached_tokens_min)
    return;
  const auto& head = *books_.find(role::prefill, decision.chosen.prefill);
  auto others = stages_for(tokens, decision);
  auto limit = std::min<uint64_t>({options_.groups->stages_max, head.last.stages_max, others.size() + 1});
  auto alone_ns = decision.chosen.prefill_ns;
  auto best_ns = alone_ns;
  auto best = uint64_t{1};
  auto best_cost = static_cast<double>(alone_ns);
  auto price = crowd();
  for (auto stages = uint64_t{2}; stages <= limit; ++stages) {
    auto last = others.begin() + static_cast<ptrdiff_t>(stages) - 1;
    auto fits = std::all_of(others.begin(), last, [&](const auto* at) { return at->last.stages_max >= stages; });
    auto latest_ns = (*(last - 1))->queued == 0 ? 0 : (*(last - 1))->free_at_ns;
    auto takes_ns = group_ns(tokens, reused, stages) + (latest_ns > now_ns ? latest_ns - now_ns : 0);
    auto extra_ns = stages * takes_ns - std::min(stages * takes_ns, alone_ns);
    auto cost = static_cast<double>(takes_ns) + price * static_cast<double>(extra_ns);
    if (fits && cost < best_cost) {
      best = stages;
      best_ns = takes_ns;
      best_cost = cost;
    }
  }
  for (auto i = size_t{0}; i + 1 < best; ++i)
    decision.stages.push_back(others[i]->who.index);
  if (best == 1)
    return;
  decision.chosen.ttft_ns -= std::min(decision.chosen.ttft_ns, alone_ns - best_ns);
  decision.chosen.prefill_ns = best_ns;
}

} // namespace perigee
