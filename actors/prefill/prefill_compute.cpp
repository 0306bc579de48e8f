// SPDX-License-Identifier: Apache-2.0
#include "actors/core/marker.hpp"
#include "actors/prefill/chunk_plan.hpp"
#include "actors/prefill/prefill_core.hpp"
#include "actors/prefill/prefix_plan.hpp"

#include <algorithm>
#include <cassert>
#include <iterator>
#include <utility>

namespace perigee {

namespace {

constexpr auto stream_items_max = 2u; // one runs, the next waits: the device never idles between chunks

} // namespace

// -- prefix -----------------------------------------------------------------------------------------------------------

void prefill_core::start_fetch(attempt& next, uint64_t now_ns) {
  auto plan = plan_fetch(next.job.prefix, static_cast<uint32_t>(next.keys.size()), local_shard_);
  if (!next.job.group.others.empty())
    form_group(next, plan, now_ns);
  fetch_planned(next, std::move(plan), next.keys, now_ns);
}

/// A stage fetches its own layers only.
void prefill_core::fetch_planned(attempt& next, fetch_plan plan, std::span<const block_key> keys,
                                 uint64_t now_ns) {
  if (plan.blocks == 0) {
    if (next.by_layer)
      settle_slots(next);
    return prefix_here(next, now_ns);
  }
  next.at = stage::fetching;
  next.fetching = true;
  next.fetch_since_ns = now_ns;
  next.fetch_remote = 0;
  for (const auto& segment : plan.segments)
    next.fetch_remote += segment.shard.node == options_.self.node ? 0 : segment.blocks;
  // What cannot be had in the time of a transfer or two is computed: a silent peer must not hold the queue until the
  // request's deadline.
  auto left_ns = next.deadline_ns > now_ns ? next.deadline_ns - now_ns : 0;
  auto order = fetch{next.fetch_id(), {keys.begin(), keys.begin() + plan.blocks},
                     {next.slots.begin(), next.slots.begin() + plan.blocks},
                     std::move(plan.segments), std::min(left_ns, 2 * to_ns(options_.times.transfer))};
  if (next.is_stage()) {
    const auto& layers = next.part->layers;
    order.offset = layers.first * options_.layout.layer_bytes;
    order.bytes = (layers.end - layers.first) * options_.layout.layer_bytes;
  } else if (options_.lent && !next.part) {
    order.lend = lendable_blocks(options_.layout.block_tokens, static_cast<uint32_t>(next.job.tokens.size()));
  }
  local.push_back(std::move(order));
}

void prefill_core::on(uint64_t now_ns, const fetched& answer) {
  auto* next = find_number(attempt::number_of(answer.id));
  if (!next || !next->fetching)
    return;
  next->fetching = false;
  next->borrowed = !answer.lent.empty();
  if (next->at == stage::closing) {
    finish_if_quiet(now_ns, ticket{next->job.id});
    return advance(now_ns);
  }
  if (next->fetch_remote > 0 && answer.blocks >= next->fetch_remote && !next->is_stage())
    reporter_.sample(
      transfer_sample{uint64_t{next->fetch_remote} * options_.layout.block_tokens, now_ns - next->fetch_since_ns});
  auto tokens = static_cast<uint32_t>(next->job.tokens.size());
  next->fetched = answer.blocks;
  take_lent(*next, answer.lent);
  std::copy_if(next->slots.begin(), next->slots.begin() + answer.blocks, std::back_inserter(written_),
               [&](uint32_t slot) { return !is_lent(slot); });
  next->reused = reused_tokens(answer.blocks, options_.layout.block_tokens, tokens);
  next->submitted = next->reused;
  if (next->by_layer)
    settle_slots(*next);
  if (next->reused == tokens - 1 && tokens > 1)
    marker("prefill: whole prompt cached");
  prefix_here(*next, now_ns);
  advance(now_ns);
}

/// The attempt needs no slots of its own for these.
void prefill_core::take_lent(attempt& next, const std::vector<uint32_t>& lent) {
  for (auto i = size_t{0}; i < lent.size(); ++i)
    if (lent[i] != no_slot)
      if (auto own = std::exchange(next.slots[i], lent[i]); own != no_slot)
        pool_.drop_ref(own);
}

void prefill_core::prefix_here(attempt& next, uint64_t now_ns) {
  next.at = stage::ready;
  if (next.is_stage())
    tell_ready(next);
  else if (next.part)
    begin_group(next, now_ns);
}

// -- compute ----------------------------------------------------------------------------------------------------------

/// What has begun first, then by the local order; null if nothing can go on. A group's next chunk may not be here yet:
/// other groups go on meanwhile, but nothing is begun, because the instance was given to the group. The places of a
/// prompt's next layer may not be free yet: as long as its last one is computed, nothing comes between.
prefill_core::attempt* prefill_core::next_to_compute(uint64_t now_ns) {
  auto* best = static_cast<attempt*>(nullptr);
  auto job = [](const attempt& at) { return local_job{at.number, at.arrived_ns, at.job.tokens.size() - at.submitted}; };
  auto is_given = false;
  auto passing = load{};
  for (const auto& id : queue_)
    if (const auto& at = attempts_.at(id); at.layered && at.at == stage::computing)
      passing.add(at.job.tokens.size());
  for (const auto& id : queue_) {
    auto& at = attempts_.at(id);
    if (at.layered && at.at == stage::computing) {
      if (at.submitted < at.job.tokens.size() && at.layered->ring.is_free(at.layered->layer))
        return &at;
      if (at.submitted < at.job.tokens.size() && !at.work.empty())
        return nullptr;
    } else if (at.at == stage::computing && at.submitted < at.job.tokens.size()) {
      if (!at.part || (at.part->going && at.part->has_input()))
        return &at;
      is_given |= at.part->going;
    }
    auto may_begin = at.at == stage::ready && !at.part && (!at.layered || may_begin_layers(at, passing));
    if (may_begin && (!best || goes_before(options_.order, job(at), job(*best), now_ns)))
      best = &at;
  }
  return is_given ? nullptr : best;
}

void prefill_core::start_compute(uint64_t now_ns) {
  while (by_work_.size() < stream_items_max) {
    auto* chosen = next_to_compute(now_ns);
    if (!chosen)
      return;
    auto& next = *chosen;
    if (next.at == stage::ready) {
      next.at = stage::computing;
      if (auto blocks = next.submitted / options_.layout.block_tokens; blocks > 0)
        next.pending.push_back({0, blocks, {}});
      ask_decode(next, now_ns);
    }
    if (next.layered)
      run_layer(next, now_ns);
    else
      run_chunk(next, now_ns);
  }
}

void prefill_core::run_chunk(attempt& next, uint64_t now_ns) {
  auto chunk_tokens = next.part ? next.part->chunk_tokens : options_.chunk_tokens;
  auto chunk = next_chunk(next.submitted, static_cast<uint32_t>(next.job.tokens.size()), chunk_tokens, options_.layout);
  auto work = chunk_work(++numbers_, chunk, next.job.tokens, next.slots, next.job.gen);
  if (next.part) {
    work.layers = next.part->layers;
    ++next.part->chunk;
  }
  next.submitted = chunk.end;
  next.work.insert(work.id);
  by_work_[work.id] = {next.job.id, chunk, work.layers.first, next.part ? next.part->chunk - 1 : 0, now_ns};
  local.push_back(run_prefill{std::move(work), std::exchange(written_, {})});
}

void prefill_core::on(uint64_t, const layer_done& progress) {
  auto item = by_work_.find(progress.id);
  if (item == by_work_.end())
    return;
  auto* next = find(item->second.id);
  if (!next || next->at == stage::closing)
    return;
  auto& [id, chunk, layer_next, number, since_ns] = item->second;
  if (next->layered)
    layer_computed(*next, layer_next);
  next->pending.push_back({chunk.block_first, chunk.block_last, {layer_next, progress.layer + 1}});
  layer_next = progress.layer + 1;
  push_writes(*next);
}

void prefill_core::on(uint64_t now_ns, const work_done& answer) {
  auto item = by_work_.find(answer.result.id);
  if (item == by_work_.end())
    return;
  auto done = item->second;
  by_work_.erase(item);
  auto* next = find(done.id);
  assert(next);
  next->work.erase(answer.result.id);
  next->busy_ns += answer.result.busy_ns;
  if (next->at == stage::closing) {
    finish_if_quiet(now_ns, done.id);
  } else if (!answer.result.outcome.ok()) {
    marker("prefill: device error");
    device_broken_ |= answer.result.outcome.code == errc::io_error;
    close(now_ns, *next, ec::instance_failed, true);
  } else if (next->is_stage()) {
    pass_on(now_ns, *next, done);
  } else {
    if (next->layered)
      next->layered->ring.release(done.layer_next - 1);
    if (done.chunk.last)
      computed(now_ns, *next, answer.result);
  }
  advance(now_ns);
}

void prefill_core::computed(uint64_t now_ns, attempt& next, const kernels::work_result& result) {
  const auto& job = next.job;
  assert(result.tokens.size() == job.gen.choices.size());
  auto id = job.id;
  next.at = stage::computed;
  next.first_tokens = result.tokens;
  std::erase(queue_, id);
  next.finished_here = true;
  auto is_left_to_decode = next.decode_side == grant::granted && next.where.tells_first;
  for (auto i = size_t{0}; i < job.gen.choices.size(); ++i) {
    const auto& choice = job.gen.choices[i];
    auto finish = job.gen.finish_after(result.tokens[i], choice.generated + 1);
    if (finish == finish_reason::none)
      next.finished_here = false;
    if (finish == finish_reason::none && is_left_to_decode)
      continue;
    auto& stream = tokens_.open(id, choice.choice, job.from, choice.generated, next.reused);
    tokens_.push(stream, result.tokens[i]);
    if (finish != finish_reason::none)
      tokens_.finish(id, choice.choice, finish);
  }
  send_tokens(now_ns, UINT64_MAX);
  report_computed(next);
  if (next.finished_here) {
    marker("prefill: ended with the first token");
    next.pending.clear();
  }
  if (next.part) {
    next.part->gathering = true; // What it offers, the others have to bring first.
    dismiss(next, now_ns);
  } else if (next.layered) {
    if (!next.publishing)
      stores_no_more(next);
  } else {
    offer(next);
  }
  announce(next, now_ns);
  finish_if_quiet(now_ns, id);
}

/// Tells how long it took, and so that the instance goes on with the next; of a group when all have told that.
void prefill_core::report_computed(attempt& next) {
  auto busy_ns = next.busy_ns;
  if (next.part) {
    if (next.part->reported || next.at != stage::computed || !next.part->all(group_part::member::stage::done))
      return;
    next.part->reported = true;
    for (const auto& other : next.part->members)
      busy_ns += other.news.busy_ns;
  }
  reporter_.sample(prefill_sample{static_cast<uint32_t>(next.job.tokens.size()), next.reused, busy_ns, next.job.id});
}

/// The first block of those that are offered to a shard; one past the last if none is.
uint32_t prefill_core::first_offered(const attempt& next) const {
  auto last = static_cast<uint32_t>(next.keys.size());
  if (!options_.keep_generated)
    return last;
  auto first = first_to_offer(next.job.prefix, next.fetched, local_shard_);
  if (next.part)
    first = std::min(first, next.reused / options_.layout.block_tokens); // Another stage may have fetched less.
  if (first >= last)
    return last;
  return first - std::min(first, 1u); // The block before the new ones tells the shard where they belong.
}

/// Gives the full blocks to the shards; they stay unchanged here until the store client says `published`.
void prefill_core::offer(attempt& next) {
  auto first = first_offered(next);
  auto last = static_cast<uint32_t>(next.keys.size());
  if (first >= last)
    return stores_no_more(next);
  next.publishing = true;
  auto offered = std::vector<uint32_t>(next.slots.begin() + first, next.slots.begin() + last);
  for (auto& slot : offered)
    slot = is_lent(slot) ? no_slot : slot;
  local.push_back(publish{next.publish_id(), {next.keys.begin() + first, next.keys.end()}, std::move(offered)});
}

void prefill_core::on(uint64_t now_ns, const published& answer) {
  auto* next = find_number(attempt::number_of(answer.id));
  if (!next || !next->publishing)
    return;
  next->publishing = false;
  stores_no_more(*next);
  finish_if_quiet(now_ns, ticket{next->job.id});
  advance(now_ns);
}

} // namespace perigee
