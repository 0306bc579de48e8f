// SPDX-License-Identifier: Apache-2.0
#include "actors/conductor/conductor_core.hpp"

#include <algorithm>

// Chunked pipeline parallelism: which prefill instances compute a long prompt together.

namespace perigee {

namespace {

/// A group takes device time from whoever waits when it is formed, and from about as many who come while they do.
constexpr auto later = 2.0;

/// When it is free; 0 for one that is.
uint64_t free_ns(const books::member& at) {
  return at.queued == 0 ? 0 : at.free_at_ns;
}

} // namespace

/// While chunks get longer towards the end of a prompt, all of them go through one stage, and the last one through the
/// others.
group_times conductor_core::group_ns(uint64_t tokens, uint64_t reused, uint64_t stages) const {
  auto all_ns = estimate_.prefill_ns(tokens, reused);
  auto chunk = std::min<uint64_t>(options_.groups->chunk_tokens, tokens - reused);
  auto last_ns = all_ns - std::min(all_ns, estimate_.prefill_ns(tokens - chunk, std::min(reused, tokens - chunk)));
  auto first_ns = std::min(last_ns, estimate_.prefill_ns(reused + chunk, reused));
  return {(all_ns + (stages - 1) * last_ns) / stages, first_ns / stages, last_ns / stages};
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
  std::stable_sort(found.begin(), found.end(), [](const auto* a, const auto* b) { return free_ns(*a) < free_ns(*b); });
  return found;
}

/// Prompts that wait or are computed, for each device that computes prompts.
double conductor_core::crowd() const {
  auto prompts = held_.size() + asking_;
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

/// Adds stages to the decision if the first token is expected sooner so, the wait for each of them counted, by more
/// than all others wait longer for it: what a group takes of device time beyond what one instance would take, it takes
/// from whoever waits, and of those each device has `crowd` many.
void conductor_core::form_group(uint64_t now_ns, const entry& waiting, route_decision& decision) const {
  auto tokens = uint64_t{waiting.request.prompt_tokens};
  auto reused = reused_tokens(waiting, decision);
  if (tokens - reused < options_.groups->uncached_tokens_min)
    return;
  const auto& head = *books_.find(role::prefill, decision.chosen.prefill);
  auto others = stages_for(tokens, decision);
  auto limit = std::min<uint64_t>({options_.groups->stages_max, head.last.stages_max, others.size() + 1});
  auto alone_ns = decision.chosen.prefill_ns;
  auto wait_ns = std::max(now_ns, free_ns(head)) - now_ns;
  auto best_ns = wait_ns + alone_ns;
  auto best = uint64_t{1};
  auto best_cost = static_cast<double>(best_ns);
  auto price = later * crowd();
  auto free = std::vector<uint64_t>{}; // of each stage
  for (auto stages = uint64_t{2}; stages <= limit; ++stages) {
    auto last = others.begin() + static_cast<ptrdiff_t>(stages) - 1;
    auto fits = std::all_of(others.begin(), last, [&](const auto* at) { return at->last.stages_max >= stages; });
    free.assign(stages, free_ns(head));
    std::transform(others.begin(), last, free.begin(), [](const auto* at) { return free_ns(*at); });
    auto times = group_ns(tokens, reused, stages);
    auto takes_ns = times.begin_ns(free, now_ns) - now_ns + times.takes_ns;
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
  decision.chosen.ttft_ns -= std::min(decision.chosen.ttft_ns, wait_ns + alone_ns - best_ns);
  decision.chosen.prefill_ns = best_ns - std::min(best_ns, wait_ns);
}

} // namespace perigee
