// SPDX-License-Identifier: Apache-2.0
#include "actors/decode/decode_core.hpp"

#include "actors/core/marker.hpp"

#include <algorithm>
#include <cassert>

namespace perigee {

decode_core::decode_core(decode_options options)
  : options_(std::move(options)), pool_(options_.slots), reporter_(options_.self, to_ns(options_.times.report)) {
  options_.chunk_tokens = whole_blocks(options_.chunk_tokens, options_.layout.block_tokens);
}

decode_core::attempt* decode_core::find(const ticket& id) {
  auto at = attempts_.find(id);
  return at == attempts_.end() ? nullptr : &at->second;
}

void decode_core::add_ref(uint32_t slot) {
  if (!is_lent(slot))
    pool_.add_ref(slot);
}

void decode_core::drop_ref(uint32_t slot) {
  if (!is_lent(slot))
    pool_.drop_ref(slot);
}

// -- ends -------------------------------------------------------------------------------------------------------------

void decode_core::end_sequence(uint64_t order, finish_reason reason, bool keep) {
  auto at = std::move(sequences_.at(order));
  sequences_.erase(order);
  assert(!at.in_step);
  auto& owner = attempts_.at(at.id);
  if (tokens_.has(at.id, at.choice))
    tokens_.finish(at.id, at.choice, reason);
  auto block = options_.layout.block_tokens;
  auto prompt_blocks = owner.job.tokens.size() / block; // Prefill offered those.
  auto full = (at.size() - 1) / block;
  auto kept = std::vector<uint32_t>{};
  if (keep && options_.keep_generated && full > prompt_blocks) {
    auto tokens = at.tokens();
    auto keys = chain_keys(owner.job.root, std::span{tokens}.first(full * block), block);
    kept.assign(at.blocks.begin() + prompt_blocks, at.blocks.begin() + full);
    auto number = ++numbers_;
    publishing_[number] = kept;
    local.push_back(publish{number, {keys.begin() + prompt_blocks, keys.end()}, kept});
  }
  for (auto i = size_t{0}; i < at.blocks.size(); ++i)
    if (kept.empty() || i < prompt_blocks || i >= full)
      drop_ref(at.blocks[i]);
  if (--owner.open == 0)
    end_attempt(at.id);
}

void decode_core::end_attempt(const ticket& id) {
  auto& at = attempts_.at(id);
  reporter_.ended({id, at.tokens_max, at.job.placement});
  if (at.cancel_asked_by)
    out.to(*at.cancel_asked_by, cancelled{options_.self, id});
  return_lent(at);
  over_.bury(id);
  attempts_.erase(id);
}

/// Ends a sequence now, or after the step that has it.
void decode_core::stop_sequence(uint64_t order, finish_reason reason) {
  auto& at = sequences_.at(order);
  if (at.in_step)
    at.ends_after_step = reason;
  else
    end_sequence(order, reason, false);
}

void decode_core::stop_attempt(uint64_t now_ns, const ticket& id, finish_reason reason) {
  auto& at = attempts_.at(id);
  if (at.at != stage::running)
    return leave(now_ns, at);
  auto orders = std::vector<uint64_t>{};
  for (const auto& [order, item] : sequences_)
    if (item.id == id)
      orders.push_back(order);
  for (auto order : orders)
    stop_sequence(order, reason);
}

/// A higher attempt cancels the lower ones.
void decode_core::stop_lower(uint64_t now_ns, const ticket& id) {
  for (auto lower = attempts_.lower_bound({id.request, 0}); lower != attempts_.end() && lower->first < id;) {
    auto known = (lower++)->first;
    marker("decode: higher attempt");
    stop_attempt(now_ns, known, finish_reason::failed);
  }
}

void decode_core::on(uint64_t now_ns, const cancel& order) {
  auto known = false;
  for (auto at = attempts_.lower_bound({order.id.request, 0}); at != attempts_.end() && at->first <= order.id;) {
    auto& target = (at++)->second;
    auto id = target.job.id;
    known |= id == order.id;
    marker(target.at == stage::running    ? "decode: cancel running"
           : target.at == stage::transfer ? "decode: cancel transfer"
           : target.at == stage::prompt   ? "decode: cancel prompt"
                                          : "decode: cancel leaving");
    if (target.at == stage::leaving) {
      out.to(order.from, cancelled{options_.self, id});
      continue;
    }
    target.cancel_asked_by = order.from;
    tokens_.drop(id);
    stop_attempt(now_ns, id, finish_reason::failed);
  }
  over_.bury(order.id);
  if (!known)
    out.to(order.from, cancelled{options_.self, order.id});
  after(now_ns);
}

void decode_core::on(uint64_t now_ns, const token_acks& acks) {
  for (const auto& ack : acks.acks) {
    if (!tokens_.on(ack, now_ns))
      continue;
    marker("decode: session wants no more");
    for (auto& [order, at] : sequences_)
      if (at.id == ack.id && at.choice == ack.choice) {
        stop_sequence(order, finish_reason::stop);
        break;
      }
  }
  after(now_ns);
}

void decode_core::on(uint64_t now_ns, const published& answer) {
  if (auto prompt = offered_.find(answer.id); prompt != offered_.end()) {
    for (auto slot : prompt->second.slots)
      pool_.drop_ref(slot);
    coming_.remove(prompt->second.number, prompt->second.keys);
    offered_.erase(prompt);
    return after(now_ns);
  }
  auto at = publishing_.find(answer.id);
  if (at == publishing_.end())
    return;
  for (auto slot : at->second)
    pool_.drop_ref(slot);
  publishing_.erase(at);
  after(now_ns);
}

void decode_core::on(uint64_t, const peer_up& news) {
  if (news.who.kind == role::shard && options_.local_shard == news.who.index)
    local_shard_ = news.who;
  if (news.who.kind == role::prefill)
    prefills_.insert(news.who);
}

/// Whether it may write to the attempt's slots.
bool decode_core::writes(const address& who, const attempt& at) {
  const auto& stages = at.job.stages;
  return at.job.from == who || std::find(stages.begin(), stages.end(), who) != stages.end();
}

void decode_core::on(uint64_t now_ns, const peer_down& news) {
  reporter_.lost(news.who);
  if (local_shard_ == news.who)
    local_shard_.reset();
  if (news.who.kind == role::session)
    tokens_.drop_session(news.who);
  prefills_.erase(news.who);
  auto ids = std::vector<ticket>{};
  for (const auto& [id, at] : attempts_)
    if (at.job.session == news.who || (writes(news.who, at) && at.at != stage::running))
      ids.push_back(id);
  for (const auto& id : ids) {
    auto& at = attempts_.at(id);
    if (writes(news.who, at) && at.at != stage::running) {
      writer_lost(now_ns, at, news.who);
    } else {
      stop_attempt(now_ns, id, finish_reason::failed);
    }
  }
  after(now_ns);
}

// -- time and reports -------------------------------------------------------------------------------------------------

/// After everything that may have changed what runs.
void decode_core::after(uint64_t now_ns) {
  admit_prompts(now_ns);
  step(now_ns);
  send_tokens(now_ns, UINT64_MAX);
  if (reporter_.due(now_ns))
    send_report(now_ns);
}

void decode_core::on(uint64_t now_ns, const conductor_hello& hello) {
  if (reporter_.on(hello))
    send_report(now_ns);
}

void decode_core::on(uint64_t, const report_ack& ack) {
  reporter_.on(ack);
}

void decode_core::send_tokens(uint64_t now_ns, uint64_t retry_ns) {
  for (auto& [session, batch] : tokens_.collect(options_.self, now_ns, retry_ns))
    out.to(session, std::move(batch));
}

void decode_core::send_report(uint64_t now_ns) {
  if (!reporter_.conductor())
    return;
  auto news = reporter_.next(now_ns);
  news.slots_total = pool_.capacity();
  news.slots_free = pool_.count(slot_state::free);
  news.slots_transfer = pool_.count(slot_state::transfer);
  news.twin = options_.twin;
  news.spare = options_.spare;
  news.token_capacity = uint64_t{options_.slots} * options_.layout.block_tokens;
  news.running = static_cast<uint32_t>(sequences_.size());
  for (const auto& [id, at] : attempts_) {
    if (at.at == stage::leaving)
      continue;
    news.waiting += at.at != stage::running;
    news.queued_tokens += at.tokens_max;
    if (news.full)
      news.active.push_back({id, at.tokens_max, at.job.placement});
  }
  out.to(*reporter_.conductor(), std::move(news));
}

bool decode_core::device_lost(uint64_t now_ns) const {
  auto overdue = [&](uint64_t since_ns) { return since_ns + to_ns(options_.times.device) <= now_ns; };
  return device_broken_ || (step_ && overdue(step_since_ns_)) || (chunk_ && overdue(chunk_->since_ns))
         || std::any_of(copies_.begin(), copies_.end(),
                        [&](const auto& item) { return overdue(item.second.since_ns); });
}

void decode_core::tick(uint64_t now_ns) {
  for (auto& [id, at] : attempts_)
    if (at.asks_stages && at.retry_ns <= now_ns)
      ask_stages(now_ns, at);
  auto late = std::vector<ticket>{};
  for (const auto& [id, at] : attempts_)
    if (at.deadline_ns <= now_ns && at.at != stage::leaving)
      late.push_back(id);
  for (const auto& id : late) {
    marker("decode: deadline");
    if (attempts_.at(id).at == stage::prompt)
      fail_prompt(now_ns, id, ec::deadline);
    else
      stop_attempt(now_ns, id, finish_reason::failed);
  }
  send_tokens(now_ns, to_ns(options_.times.retry));
  after(now_ns);
}

} // namespace perigee
