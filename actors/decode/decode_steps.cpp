// SPDX-License-Identifier: Apache-2.0
#include "actors/core/marker.hpp"
#include "actors/decode/decode_core.hpp"

#include <algorithm>
#include <utility>

namespace perigee {

namespace {

/// What a step of `step_ns` takes with another row, at most.
uint64_t with_one_more(uint64_t step_ns) {
  return step_ns + step_ns / 16;
}

} // namespace

bool decode_core::has_block(const sequence& at) const {
  return at.blocks.size() * options_.layout.block_tokens >= at.size();
}

/// Makes room for the newest token of a sequence; preempts the youngest ones if it must. Returns whether it can run.
bool decode_core::ensure_block(uint64_t order) {
  while (true) {
    auto& at = sequences_.at(order);
    if (has_block(at))
      return true;
    if (auto slot = pool_.take_one(slot_state::live)) {
      at.blocks.push_back(*slot);
      return true;
    }
    if (!publishing_.empty())
      return false; // Blocks come free when the shards have them; until then nobody else has to go.
    auto youngest = sequences_.rbegin()->first;
    if (youngest != order) {
      marker("decode: preempted");
      end_sequence(youngest, finish_reason::preempted, true);
      continue;
    }
    if (sequences_.size() > 1) {
      marker("decode: preempted itself");
      end_sequence(order, finish_reason::preempted, true);
      return false;
    }
    if (at.blocks.size() - at.owner->lent.size() == pool_.capacity()) {
      marker("decode: pool too small");
      end_sequence(order, finish_reason::length, false);
    }
    return false;
  }
}

/// Whether what joins may have to wait for a step, and then for its own, for longer than is promised between tokens.
bool decode_core::is_slow() const {
  return options_.slo_tbt_ns > 0 && 2 * with_one_more(step_ns_) > options_.slo_tbt_ns;
}

/// Where something is promised: whether a token that is told now would be followed later, after the step that runs and
/// another.
bool decode_core::breaks_gap(uint64_t now_ns) const {
  if (!step_)
    return false;
  auto left_ns = step_ns_ - std::min(step_ns_, now_ns - step_since_ns_);
  return left_ns + with_one_more(step_ns_) > options_.slo_tbt_ns;
}

/// Before the step that makes the second ones.
void decode_core::tell_first_tokens() {
  for (auto order : first_held_)
    if (auto at = sequences_.find(order); at != sequences_.end())
      tokens_.push(*at->second.stream, at->second.fresh.front());
  first_held_.clear();
}

void decode_core::step(uint64_t now_ns) {
  if (step_ || chunk_ || device_broken_)
    return;
  tell_first_tokens();
  if (start_chunk(now_ns) && options_.coupled == coupling::prefill_first)
    return;
  auto work = kernels::decode_work{};
  step_rows_.clear();
  step_context_ = 0;
  work.rows.reserve(std::min<size_t>(sequences_.size(), options_.batch_max));
  for (auto next = sequences_.begin(); next != sequences_.end() && work.rows.size() < options_.batch_max;) {
    auto order = next->first;
    if (!has_block(next->second)) {
      // This may end the sequence or younger ones, never one of this step: rows go oldest first.
      auto ready = ensure_block(order);
      next = sequences_.lower_bound(order);
      if (!ready) {
        if (next != sequences_.end() && next->first == order)
          ++next;
        continue;
      }
    }
    auto& at = next->second;
    const auto& gen = at.owner->job.gen;
    auto size = static_cast<uint32_t>(at.size());
    if (at.listed.size() != at.blocks.size())
      at.listed = at.blocks;
    auto& row = work.rows.emplace_back(at.fresh.back(), size - 1, at.listed);
    row.sample.params = gen.sampling;
    row.sample.choice = at.choice;
    row.sample.generated = size - gen.prompt_tokens;
    row.sample.prompt_tokens = gen.prompt_tokens;
    if (gen.sampling.needs_history())
      row.sample.history = at.tokens();
    step_context_ += size;
    step_rows_.push_back(&at);
    at.in_step = true;
    ++next;
  }
  if (work.rows.empty())
    return;
  work.id = ++numbers_;
  step_ = work.id;
  step_since_ns_ = now_ns;
  local.push_back(run_decode{std::move(work), std::exchange(written_, {})});
}

void decode_core::on(uint64_t now_ns, const work_done& answer) {
  if (auto copy = copies_.find(answer.result.id); copy != copies_.end()) {
    for (auto slot : copy->second.slots)
      pool_.drop_ref(slot);
    copies_.erase(copy);
    device_broken_ |= !answer.result.outcome.ok();
    return after(now_ns);
  }
  if (chunk_ && chunk_->work == answer.result.id) {
    chunk_done(now_ns, answer.result);
    return after(now_ns);
  }
  if (step_ != answer.result.id)
    return;
  step_.reset();
  finish_step(now_ns, answer.result);
  after(now_ns);
}

void decode_core::finish_step(uint64_t now_ns, const kernels::work_result& result) {
  const auto& rows = step_rows_;
  step_ns_ = now_ns - step_since_ns_;
  if (result.outcome.ok())
    reporter_.sample(step_sample{static_cast<uint32_t>(rows.size()), step_context_, result.busy_ns});
  else
    device_broken_ |= result.outcome.code == errc::io_error;
  for (auto i = size_t{0}; i < rows.size(); ++i) {
    auto& at = *rows[i];
    at.in_step = false;
    if (at.ends_after_step) {
      end_sequence(at.order, *at.ends_after_step, false);
      continue;
    }
    if (!result.outcome.ok()) {
      marker("decode: device error");
      end_sequence(at.order, finish_reason::failed, false);
      continue;
    }
    auto token = result.tokens.at(i);
    at.fresh.push_back(token);
    auto& owner = *at.owner;
    owner.tokens_max = std::max<uint64_t>(owner.tokens_max, at.size());
    tokens_.push(*at.stream, token);
    auto generated = static_cast<uint32_t>(at.size()) - owner.job.gen.prompt_tokens;
    auto finish = owner.job.gen.finish_after(token, generated);
    if (finish != finish_reason::none)
      end_sequence(at.order, finish, true);
  }
}

} // namespace perigee
