// SPDX-License-Identifier: Apache-2.0
#include "actors/core/marker.hpp"
#include "actors/decode/decode_core.hpp"
#include "actors/prefill/prefix_plan.hpp"

#include <algorithm>
#include <cassert>
#include <iterator>
#include <utility>

namespace perigee {

// -- from job to slots ------------------------------------------------------------------------------------------------

void decode_core::on(uint64_t now_ns, prefill_job job) {
  auto answered = attempts_.contains(job.id)
                  || (!job.gen.choices.empty() && tokens_.has(job.id, job.gen.choices.front().choice));
  if (answered) {
    out.to(job.from, job_ack{options_.self, job.id});
    return;
  }
  auto refuse = [&](ec reason) { out.to(job.from, job_failed{options_.self, job.id, reason}); };
  if (over_.covers(job.id)) {
    marker("decode: stale job");
    return refuse(ec::stale);
  }
  auto blocks = options_.layout.blocks_for(job.tokens.size());
  if (job.tokens.empty() || job.gen.choices.empty() || job.keys.size() > blocks || blocks > options_.slots)
    return refuse(ec::too_long);
  if (prompts_.size() >= options_.prompts_max)
    return refuse(ec::overloaded);
  stop_lower(now_ns, job.id);
  if (job.id.attempt > 0)
    over_.bury({job.id.request, job.id.attempt - 1});
  auto id = job.id;
  auto& fresh = attempts_[id];
  fresh.at = stage::prompt;
  fresh.deadline_ns = now_ns + job.deadline_ns;
  fresh.tokens_max = job.tokens.size();
  auto& prompt = fresh.prompt.emplace();
  prompt.number = ++numbers_;
  prompt.arrived_ns = now_ns;
  prompt.keys = std::move(job.keys);
  prompt.prefix = std::move(job.prefix);
  coming_.add(prompt.number, prompt.keys);
  fresh.job = reserve{options_.self, id,       job.term, job.revision,       job.placement,
                      job.from,      std::move(job.tokens), job.root, std::move(job.gen), job.deadline_ns};
  prompts_.push_back(id);
  unadmitted_.push_back(id);
  out.to(fresh.job.session, job_ack{options_.self, id});
  after(now_ns);
}

/// First come, first served; what an earlier one here is about to store is waited for.
void decode_core::admit_prompts(uint64_t now_ns) {
  for (auto place = size_t{0}; place < unadmitted_.size();) {
    auto& next = attempts_.at(unadmitted_[place]);
    if (waits_for_sibling(*next.prompt)) {
      ++place;
      continue;
    }
    auto need = options_.layout.blocks_for(next.job.tokens.size());
    // Every running sequence may need its next block before this one joins.
    if (pool_.count(slot_state::free) < need + sequences_.size()) {
      marker("decode: prompt waits for slots");
      return;
    }
    unadmitted_.erase(unadmitted_.begin() + static_cast<std::ptrdiff_t>(place));
    next.slots = *pool_.take(need, slot_state::live);
    start_fetch(next, now_ns);
  }
}

bool decode_core::waits_for_sibling(const own_prompt& next) const {
  auto planned = uint32_t{0};
  for (const auto& segment : next.prefix)
    planned += segment.blocks;
  return local_shard_ && coming_.more_than(planned, next.number, next.keys);
}

void decode_core::start_fetch(attempt& next, uint64_t now_ns) {
  auto& prompt = *next.prompt;
  auto plan = plan_fetch(prompt.prefix, static_cast<uint32_t>(prompt.keys.size()), local_shard_);
  if (plan.blocks == 0) {
    prompt.at = own_prompt::stage::ready;
    return;
  }
  prompt.at = own_prompt::stage::fetching;
  prompt.fetching = true;
  prompt.fetch_since_ns = now_ns;
  for (const auto& segment : plan.segments)
    prompt.fetch_remote += segment.shard.node == options_.self.node ? 0 : segment.blocks;
  auto left_ns = next.deadline_ns > now_ns ? next.deadline_ns - now_ns : 0;
  fetches_[prompt.number] = next.job.id;
  auto order = fetch{prompt.number,
                     {prompt.keys.begin(), prompt.keys.begin() + plan.blocks},
                     {next.slots.begin(), next.slots.begin() + plan.blocks},
                     std::move(plan.segments),
                     std::min(left_ns, 2 * to_ns(options_.times.transfer))};
  if (options_.lent)
    order.lend = lendable_blocks(options_.layout.block_tokens, static_cast<uint32_t>(next.job.tokens.size()));
  local.push_back(std::move(order));
}

/// The prompt needs no slots of its own for these.
void decode_core::take_lent(attempt& next, const std::vector<uint32_t>& lent) {
  if (lent.empty())
    return;
  next.lent_by = next.prompt->number;
  for (auto i = size_t{0}; i < lent.size(); ++i)
    if (lent[i] != no_slot) {
      pool_.drop_ref(std::exchange(next.slots[i], lent[i]));
      next.lent.push_back(lent[i]);
    }
}

void decode_core::return_lent(const attempt& over) {
  if (over.lent_by != 0)
    local.push_back(give_back{over.lent_by});
}

void decode_core::on(uint64_t now_ns, const fetched& answer) {
  auto at = fetches_.find(answer.id);
  if (at == fetches_.end())
    return;
  auto id = at->second;
  fetches_.erase(at);
  auto& owner = attempts_.at(id);
  if (!owner.prompt)
    return looked_beside(now_ns, owner, answer);
  auto& prompt = *owner.prompt;
  prompt.fetching = false;
  take_lent(owner, answer.lent);
  if (owner.at == stage::leaving) {
    free_if_quiet(id);
    return after(now_ns);
  }
  if (prompt.fetch_remote > 0 && answer.blocks >= prompt.fetch_remote)
    reporter_.sample(
      transfer_sample{uint64_t{prompt.fetch_remote} * options_.layout.block_tokens, now_ns - prompt.fetch_since_ns});
  prompt.fetched = answer.blocks;
  std::copy_if(owner.slots.begin(), owner.slots.begin() + answer.blocks, std::back_inserter(written_),
               [&](uint32_t slot) { return !is_lent(slot); });
  prompt.reused = reused_tokens(answer.blocks, options_.layout.block_tokens,
                                static_cast<uint32_t>(owner.job.tokens.size()));
  prompt.submitted = prompt.reused;
  prompt.at = own_prompt::stage::ready;
  after(now_ns);
}

// -- compute ----------------------------------------------------------------------------------------------------------

/// What has begun first, then by the local order; null if there is nothing to compute.
decode_core::attempt* decode_core::next_prompt(uint64_t now_ns) {
  auto* best = static_cast<attempt*>(nullptr);
  auto job = [](const attempt& at) {
    return local_job{at.prompt->number, at.prompt->arrived_ns, at.job.tokens.size() - at.prompt->submitted};
  };
  for (const auto& id : prompts_) {
    auto& at = attempts_.at(id);
    if (at.prompt->at == own_prompt::stage::computing)
      return &at;
    if (at.prompt->at == own_prompt::stage::ready
        && (!best || goes_before(options_.order, job(at), job(*best), now_ns)))
      best = &at;
  }
  return best;
}

/// Returns whether there was anything to compute.
bool decode_core::start_chunk(uint64_t now_ns) {
  auto* next = next_prompt(now_ns);
  if (!next)
    return false;
  auto& prompt = *next->prompt;
  prompt.at = own_prompt::stage::computing;
  const auto& job = next->job;
  auto chunk = next_chunk(prompt.submitted, static_cast<uint32_t>(job.tokens.size()), options_.chunk_tokens,
                          options_.layout);
  prompt.submitted = chunk.end;
  chunk_ = chunk_item{++numbers_, job.id, chunk.last, now_ns};
  local.push_back(run_prefill{chunk_work(chunk_->work, chunk, job.tokens, next->slots, job.gen), std::exchange(written_, {})});
  return true;
}

void decode_core::chunk_done(uint64_t now_ns, const kernels::work_result& result) {
  auto [work, id, last, since_ns] = *std::exchange(chunk_, std::nullopt);
  auto& at = attempts_.at(id);
  device_broken_ |= result.outcome.code == errc::io_error;
  if (at.at == stage::leaving)
    return free_if_quiet(id);
  at.prompt->busy_ns += result.busy_ns;
  if (!result.outcome.ok()) {
    marker("decode: device error in a prompt");
    fail_prompt(now_ns, id, ec::instance_failed);
  } else if (last) {
    prompt_computed(now_ns, at, result);
  }
}

/// It goes on as sequences, which own its slots now.
void decode_core::prompt_computed(uint64_t now_ns, attempt& at, const kernels::work_result& result) {
  marker("decode: prompt computed here");
  auto prompt = *std::exchange(at.prompt, std::nullopt);
  std::erase(prompts_, at.job.id);
  reporter_.sample(
    prefill_sample{static_cast<uint32_t>(at.job.tokens.size()), prompt.reused, prompt.busy_ns, at.job.id});
  offer_prompt(prompt, at.slots);
  stores_no_more(prompt);
  at.at = stage::running;
  fork(now_ns, at, result.tokens, prompt.reused);
}

/// Gives the full blocks of a prompt to the local shard, or to the one that its prefix came from.
void decode_core::offer_prompt(own_prompt& prompt, const std::vector<uint32_t>& slots) {
  auto first = local_shard_ ? first_to_offer(prompt.prefix, prompt.fetched, local_shard_) : prompt.fetched;
  auto last = static_cast<uint32_t>(prompt.keys.size());
  if (first >= last)
    return;
  auto number = ++numbers_;
  auto& kept = offered_[number];
  auto offered = std::vector<uint32_t>(slots.begin() + first, slots.begin() + last);
  for (auto& slot : offered)
    if (is_lent(slot)) {
      slot = no_slot; // It is at the shard.
    } else {
      pool_.add_ref(slot);
      kept.slots.push_back(slot);
    }
  if (std::exchange(prompt.will_store, false)) {
    kept.number = prompt.number;
    kept.keys = prompt.keys;
  }
  auto to = std::optional<uint32_t>{};
  if (!local_shard_ && !prompt.prefix.empty())
    to = prompt.prefix.back().shard.index;
  local.push_back(publish{number, {prompt.keys.begin() + first, prompt.keys.end()}, std::move(offered), to});
}

void decode_core::stores_no_more(own_prompt& prompt) {
  if (std::exchange(prompt.will_store, false))
    coming_.remove(prompt.number, prompt.keys);
}

// -- ends before the first token --------------------------------------------------------------------------------------

void decode_core::fail_prompt(uint64_t now_ns, const ticket& id, ec reason) {
  auto& at = attempts_.at(id);
  out.to(at.job.session, job_failed{options_.self, id, reason});
  for (const auto& choice : at.job.gen.choices) {
    tokens_.open(id, choice.choice, at.job.session, choice.generated, at.prompt->reused);
    tokens_.finish(id, choice.choice, finish_reason::failed);
  }
  leave(now_ns, at);
}

/// Its slots stay until neither the fetch nor the chunk touches them.
void decode_core::leave_prompt(attempt& unwanted) {
  auto id = unwanted.job.id;
  auto& prompt = *unwanted.prompt;
  stores_no_more(prompt);
  std::erase(prompts_, id);
  std::erase(unadmitted_, id);
  if (prompt.fetching)
    local.push_back(cancel_store{prompt.number});
  if (chunk_ && chunk_->id == id)
    local.push_back(cancel_work{chunk_->work});
  free_if_quiet(id);
}

void decode_core::free_if_quiet(const ticket& id) {
  auto& at = attempts_.at(id);
  assert(at.at == stage::leaving && at.prompt);
  if (at.prompt->fetching || (chunk_ && chunk_->id == id))
    return;
  for (auto slot : at.slots)
    drop_ref(slot);
  return_lent(at);
  over_.bury(id);
  attempts_.erase(id);
}

} // namespace perigee
