// SPDX-License-Identifier: Apache-2.0
#include "actors/conductor/conductor_core.hpp"

#include <algorithm>
#include <utility>

// Prompts that decode instances compute.

namespace perigee {

namespace {

/// Predicted time to the first token at the best prefill instance, if what is held were shared out evenly and came
/// before.
uint64_t soonest_at_prefill_ns(const route_query& query, const books& ledger) {
  auto soonest_ns = UINT64_MAX;
  for (const auto& at : query.candidates) {
    const auto* member = ledger.find(role::prefill, at.index);
    auto begins_ns = std::max(member->free_at_ns, query.now_ns) - query.now_ns;
    soonest_ns = std::min(soonest_ns, begins_ns + at.prefill_own_ns);
    if (query.best_blocks <= at.own_blocks)
      continue;
    auto fetch_ns = query.source_backlog_ns + (query.best_blocks - at.own_blocks) * query.transfer_ns_block;
    soonest_ns = std::min(soonest_ns, begins_ns + fetch_ns + query.prefill_best_ns);
  }
  return query.candidates.empty() ? UINT64_MAX : soonest_ns + query.held_ns / query.candidates.size();
}

} // namespace

/// Caches are local to their nodes: there is nothing to fetch, and only what has room can take a request.
route_query conductor_core::make_coupled_query(route_query query, const submit& request) {
  source_ = UINT32_MAX;
  query.prefill_best_ns = UINT64_MAX;
  for (const auto* at : books_.instances(role::decode)) {
    if (!decode_has_room(*at, request))
      continue;
    auto own = match_.own(at->who.index);
    auto reused = std::min<uint64_t>(uint64_t{own} * options_.block_tokens, request.prompt_tokens - 1);
    auto takes_ns = prompt_ns(*at, request.prompt_tokens, reused);
    query.candidates.push_back({at->who.index, own, takes_ns});
    query.decodes.push_back(at->who.index);
    query.prefill_best_ns = std::min(query.prefill_best_ns, takes_ns);
  }
  if (query.candidates.empty())
    query.prefill_best_ns = estimate_.prefill_ns(request.prompt_tokens, 0);
  return query;
}

/// Predicted time from a prompt's first chunk to its first token; at a decode instance the steps between chunks count.
uint64_t conductor_core::prompt_ns(const books::member& at, uint64_t tokens, uint64_t reused) const {
  auto takes_ns = estimate_.prefill_ns(tokens, reused);
  if (at.who.kind == role::prefill || options_.coupled == coupling::prefill_first || at.running == 0)
    return takes_ns;
  auto steps = (tokens - reused - 1) / options_.mixed_chunk_tokens;
  return takes_ns + steps * estimate_.step_ns(at.running, at.running_tokens);
}

/// Conditional disaggregation: the decode instance computes what little is missing of the prompt, if the first token is
/// expected sooner so: while prefill instances are idle, sequences need not be slowed. Chosen is the decode instance
/// that can begin first, then the one with the fewest reserved tokens, of those whose steps keep the promised time
/// between tokens with a chunk of the prompt among them.
std::optional<route_decision> conductor_core::decide_at_decode(const route_query& query) const {
  auto reused = std::min<uint64_t>(uint64_t{query.best_blocks} * query.block_tokens, query.prompt_tokens - 1);
  if (!options_.at_decode || !options_.at_decode->applies(query.prompt_tokens, query.prompt_tokens - reused))
    return std::nullopt;
  const auto* best = static_cast<const books::member*>(nullptr);
  auto rank = [&](const books::member& at) { return std::pair{std::max(at.free_at_ns, query.now_ns), at.tokens}; };
  auto chunk_end = std::min<uint64_t>(query.prompt_tokens, reused + options_.mixed_chunk_tokens);
  auto chunk_ns = estimate_.prefill_ns(chunk_end, reused);
  auto keeps_promise = [&](const books::member& at) {
    return at.rows == 0 || estimate_.step_ns(at.rows, at.tokens) + chunk_ns <= query.slo_tbt_ns;
  };
  for (auto index : query.decodes)
    if (const auto* at = books_.find(role::decode, index); keeps_promise(*at) && (!best || rank(*at) < rank(*best)))
      best = at;
  if (!best)
    return std::nullopt;
  auto decision = route_decision{};
  decision.placement = query.placement;
  decision.what = verdict::place;
  decision.at_decode = true;
  decision.decode = decision.chosen.prefill = best->who.index;
  decision.chosen.fetch_blocks = query.best_blocks;
  decision.chosen.queue_ns = std::max(best->free_at_ns, query.now_ns) - query.now_ns;
  if (query.best_blocks > 0)
    decision.chosen.transfer_ns = query.source_backlog_ns + query.best_blocks * query.transfer_ns_block;
  decision.chosen.prefill_ns = prompt_ns(*best, query.prompt_tokens, reused);
  decision.chosen.ttft_ns = decision.chosen.queue_ns + decision.chosen.transfer_ns + decision.chosen.prefill_ns;
  if (decision.chosen.ttft_ns >= soonest_at_prefill_ns(query, books_))
    return std::nullopt;
  return decision;
}

} // namespace perigee
