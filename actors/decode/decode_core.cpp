// SPDX-License-Identifier: Apache-2.0
#include "actors/decode/decode_core.hpp"

#include "actors/core/marker.hpp"

#include <algorithm>
#include <cassert>

namespace perigee {

namespace {

uint64_t ns(caf::timespan span) {
  return static_cast<uint64_t>(span.count());
}

} // namespace

decode_core::decode_core(decode_options options)
  : options_(std::move(options)), pool_(options_.slots), reporter_(options_.self, ns(options_.times.report)) {}

decode_core::attempt* decode_core::find(const ticket& id) {
  auto at = attempts_.find(id);
  return at == attempts_.end() ? nullptr : &at->second;
}

// -- hand-over --------------------------------------------------------------------------------------------------------

uint32_t decode_core::take_index(const ticket& id) {
  auto at = std::find_if(inbound_.begin(), inbound_.end(), [](const inbound& item) { return !item.id; });
  if (at == inbound_.end())
    at = inbound_.insert(inbound_.end(), inbound{});
  at->id = id;
  ++at->generation; // A late immediate of the transfer before means nothing now.
  return static_cast<uint32_t>(at - inbound_.begin());
}

void decode_core::on(uint64_t now_ns, const reserve& request) {
  auto refuse = [&](ec reason) { out.to(request.from, refused{options_.self, request.id, request.revision, reason}); };
  auto grant = [&](const attempt& at) {
    out.to(request.from, granted{options_.self, request.id, options_.region, at.slots, at.immediate});
  };
  if (auto* known = find(request.id)) {
    if (known->at == stage::transfer && known->job.from == request.from)
      grant(*known);
    else if (known->at == stage::leaving)
      refuse(ec::stale);
    return;
  }
  if (over_.covers(request.id)) {
    marker("decode: stale reserve");
    return refuse(ec::stale);
  }
  for (auto lower = attempts_.lower_bound({request.id.request, 0});
       lower != attempts_.end() && lower->first < request.id;) {
    auto id = (lower++)->first;
    marker("decode: higher attempt");
    stop_attempt(now_ns, id, finish_reason::failed);
  }
  auto need = options_.layout.blocks_for(request.tokens.size());
  auto room = pool_.count(slot_state::free);
  // Every running sequence may need its next block before this one joins.
  if (need == 0 || request.gen.choices.empty() || room < need + sequences_.size() || attempts_.size() >= immediate_indices) {
    marker("decode: refused");
    return refuse(ec::out_of_blocks);
  }
  auto& fresh = attempts_[request.id];
  fresh.job = request;
  fresh.deadline_ns = now_ns + request.deadline_ns;
  fresh.slots = *pool_.take(need, slot_state::transfer);
  fresh.index = take_index(request.id);
  fresh.immediate = make_immediate(lane_, fresh.index, inbound_[fresh.index].generation);
  fresh.tokens_max = request.tokens.size();
  grant(fresh);
}

void decode_core::on(uint64_t now_ns, const arrived& news) {
  auto index = index_of(news.immediate);
  if (index >= inbound_.size() || !inbound_[index].id
      || make_immediate(lane_, index, inbound_[index].generation) != news.immediate) {
    marker("decode: late write");
    return;
  }
  auto id = *inbound_[index].id;
  ++attempts_.at(id).arrived;
  try_join(now_ns, id);
}

void decode_core::on(uint64_t now_ns, const handed_over& news) {
  auto* known = find(news.id);
  if (joined_.covers(news.id) && (!known || known->at == stage::running)) {
    out.to(news.from, joined{options_.self, news.id});
    return;
  }
  if (!known || known->at != stage::transfer || known->job.from != news.from
      || news.first_tokens.size() != known->job.gen.choices.size()) {
    out.to(news.from, refused{options_.self, news.id, known ? known->job.revision : 0, ec::stale});
    return;
  }
  known->announced = news;
  try_join(now_ns, news.id);
}

void decode_core::try_join(uint64_t now_ns, const ticket& id) {
  auto& at = attempts_.at(id);
  if (at.at != stage::transfer || !at.announced)
    return;
  if (at.arrived < at.announced->pieces) {
    marker("decode: announced before arrived");
    return;
  }
  at.at = stage::running;
  inbound_[at.index].id.reset();
  joined_.bury(id);
  auto slots = std::exchange(at.slots, {});
  for (auto slot : slots)
    pool_.to_live(slot);
  out.to(at.job.from, joined{options_.self, id});
  fork(at, std::move(slots));
  after(now_ns);
}

/// One sequence per choice: full blocks of the prompt are shared, its partial tail is copied.
void decode_core::fork(attempt& owner, std::vector<uint32_t> slots) {
  const auto& job = owner.job;
  auto id = job.id;
  auto copies = kernels::copy_work{};
  auto shared = job.tokens.size() / options_.layout.block_tokens;
  auto ended = std::vector<std::pair<uint64_t, finish_reason>>{};
  owner.open = static_cast<uint32_t>(job.gen.choices.size());
  for (auto i = size_t{0}; i < job.gen.choices.size(); ++i) {
    const auto& choice = job.gen.choices[i];
    auto order = ++orders_;
    auto& fresh = sequences_[order];
    fresh.id = id;
    fresh.choice = choice.choice;
    fresh.tokens = job.tokens;
    fresh.tokens.push_back(owner.announced->first_tokens[i]);
    fresh.blocks = slots;
    auto torn = false;
    if (i > 0) {
      for (auto block = size_t{0}; block < shared; ++block)
        pool_.add_ref(slots[block]);
      fresh.blocks.resize(shared);
      if (slots.size() > shared) {
        if (auto own = pool_.take(1, slot_state::live)) {
          fresh.blocks.push_back(own->front());
          copies.slots.emplace_back(slots[shared], own->front());
        } else {
          torn = true;
        }
      }
    }
    tokens_.open(id, choice.choice, job.session, choice.generated, owner.announced->reused);
    tokens_.push(id, choice.choice, owner.announced->first_tokens[i]);
    auto finish = job.gen.finish_after(fresh.tokens.back(), choice.generated + 1);
    if (torn)
      ended.emplace_back(order, finish_reason::preempted);
    else if (finish != finish_reason::none)
      ended.emplace_back(order, finish);
  }
  if (!copies.slots.empty()) {
    marker("decode: forked");
    copies.id = ++numbers_;
    copies_[copies.id] = 0;
    local.push_back(run_copy{std::move(copies)}); // Runs before the next step, because the stream keeps the order.
  }
  for (auto [order, finish] : ended)
    end_sequence(order, finish, false);
}

void decode_core::on(uint64_t now_ns, const quiesced& news) {
  out.to(news.from, quiesced_ack{options_.self, news.id});
  auto* known = find(news.id);
  over_.bury(news.id);
  if (!known || known->at == stage::running || known->job.from != news.from)
    return;
  leave(now_ns, *known);
  if (!news.clean)
    fence(*known);
  else if (!known->fencing)
    free_transfer(news.id);
  after(now_ns);
}

/// Nobody wants it any more, but its slots stay until no write can land.
void decode_core::leave(uint64_t, attempt& unwanted) {
  if (unwanted.at == stage::leaving)
    return;
  unwanted.at = stage::leaving;
  reporter_.ended({unwanted.job.id, unwanted.tokens_max, unwanted.job.placement});
  if (unwanted.cancel_asked_by)
    out.to(*unwanted.cancel_asked_by, cancelled{options_.self, unwanted.job.id});
}

void decode_core::fence(attempt& written) {
  if (written.fencing)
    return;
  written.fencing = true;
  auto number = ++numbers_;
  fences_[number] = written.job.id;
  local.push_back(fence_node{number, written.job.from});
}

void decode_core::on(uint64_t now_ns, const node_fenced& news) {
  auto at = fences_.find(news.id);
  if (at == fences_.end())
    return;
  marker("decode: writer fenced");
  auto id = at->second;
  fences_.erase(at);
  free_transfer(id);
  after(now_ns);
}

void decode_core::free_transfer(const ticket& id) {
  auto& at = attempts_.at(id);
  assert(at.at == stage::leaving);
  for (auto slot : at.slots)
    pool_.free(slot);
  inbound_[at.index].id.reset();
  over_.bury(id);
  attempts_.erase(id);
}

// -- steps ------------------------------------------------------------------------------------------------------------

/// Makes room for the newest token of a sequence; preempts the youngest ones if it must. Returns whether it can run.
bool decode_core::ensure_block(uint64_t order) {
  while (true) {
    auto& at = sequences_.at(order);
    if (at.blocks.size() * options_.layout.block_tokens >= at.tokens.size())
      return true;
    if (auto slot = pool_.take(1, slot_state::live)) {
      at.blocks.push_back(slot->front());
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
    if (pool_.count(slot_state::transfer) == 0) {
      marker("decode: pool too small");
      end_sequence(order, finish_reason::length, false);
    }
    return false;
  }
}

void decode_core::step(uint64_t now_ns) {
  if (step_ || device_broken_)
    return;
  auto work = kernels::decode_work{};
  step_rows_.clear();
  step_context_ = 0;
  auto orders = std::vector<uint64_t>{};
  for (const auto& [order, at] : sequences_)
    orders.push_back(order);
  for (auto order : orders) {
    if (work.rows.size() >= options_.batch_max)
      break;
    if (!sequences_.contains(order) || !ensure_block(order))
      continue;
    auto& at = sequences_.at(order);
    const auto& gen = attempts_.at(at.id).job.gen;
    auto row = kernels::decode_row{};
    row.token = at.tokens.back();
    row.position = static_cast<uint32_t>(at.tokens.size() - 1);
    row.blocks = at.blocks;
    row.sample = {gen.sampling, at.choice, static_cast<uint32_t>(at.tokens.size()) - gen.prompt_tokens,
                  gen.prompt_tokens, {}};
    if (gen.sampling.needs_history())
      row.sample.history = at.tokens;
    step_context_ += at.tokens.size();
    work.rows.push_back(std::move(row));
    step_rows_.push_back(order);
  }
  // A later row may have preempted an earlier one's younger sibling, never a row of this step: rows go oldest first.
  if (work.rows.empty())
    return;
  for (auto order : step_rows_)
    sequences_.at(order).in_step = true;
  work.id = ++numbers_;
  step_ = work.id;
  step_since_ns_ = now_ns;
  local.push_back(run_decode{std::move(work)});
}

void decode_core::on(uint64_t now_ns, const work_done& answer) {
  if (copies_.erase(answer.result.id) > 0) {
    device_broken_ |= !answer.result.outcome.ok();
    return after(now_ns);
  }
  if (step_ != answer.result.id)
    return;
  step_.reset();
  finish_step(now_ns, answer.result);
  after(now_ns);
}

void decode_core::finish_step(uint64_t, const kernels::work_result& result) {
  auto rows = std::exchange(step_rows_, {});
  if (result.outcome.ok())
    reporter_.sample(step_sample{static_cast<uint32_t>(rows.size()), step_context_, result.busy_ns});
  else
    device_broken_ |= result.outcome.code == errc::io_error;
  for (auto i = size_t{0}; i < rows.size(); ++i) {
    auto& at = sequences_.at(rows[i]);
    at.in_step = false;
    if (at.ends_after_step) {
      end_sequence(rows[i], *at.ends_after_step, false);
      continue;
    }
    if (!result.outcome.ok()) {
      marker("decode: device error");
      end_sequence(rows[i], finish_reason::failed, false);
      continue;
    }
    auto token = result.tokens.at(i);
    at.tokens.push_back(token);
    auto& owner = attempts_.at(at.id);
    owner.tokens_max = std::max<uint64_t>(owner.tokens_max, at.tokens.size());
    tokens_.push(at.id, at.choice, token);
    auto generated = static_cast<uint32_t>(at.tokens.size()) - owner.job.gen.prompt_tokens;
    auto finish = owner.job.gen.finish_after(token, generated);
    if (finish != finish_reason::none)
      end_sequence(rows[i], finish, true);
  }
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
  auto full = (at.tokens.size() - 1) / block;
  auto kept = std::vector<uint32_t>{};
  if (keep && options_.keep_generated && full > prompt_blocks) {
    auto keys = chain_keys(owner.job.root, std::span{at.tokens}.first(full * block), block);
    kept.assign(at.blocks.begin() + prompt_blocks, at.blocks.begin() + full);
    auto number = ++numbers_;
    publishing_[number] = kept;
    local.push_back(publish{number, {keys.begin() + prompt_blocks, keys.end()}, kept});
  }
  for (auto i = size_t{0}; i < at.blocks.size(); ++i)
    if (kept.empty() || i < prompt_blocks || i >= full)
      pool_.drop_ref(at.blocks[i]);
  if (--owner.open == 0)
    end_attempt(at.id);
}

void decode_core::end_attempt(const ticket& id) {
  auto& at = attempts_.at(id);
  reporter_.ended({id, at.tokens_max, at.job.placement});
  if (at.cancel_asked_by)
    out.to(*at.cancel_asked_by, cancelled{options_.self, id});
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

void decode_core::on(uint64_t now_ns, const cancel& order) {
  auto known = false;
  for (auto at = attempts_.lower_bound({order.id.request, 0}); at != attempts_.end() && at->first <= order.id;) {
    auto& target = (at++)->second;
    auto id = target.job.id;
    known |= id == order.id;
    marker(target.at == stage::running    ? "decode: cancel running"
           : target.at == stage::transfer ? "decode: cancel transfer"
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
  auto at = publishing_.find(answer.id);
  if (at == publishing_.end())
    return;
  for (auto slot : at->second)
    pool_.drop_ref(slot);
  publishing_.erase(at);
  after(now_ns);
}

void decode_core::on(uint64_t now_ns, const peer_down& news) {
  reporter_.lost(news.who);
  if (news.who.kind == role::session)
    tokens_.drop_session(news.who);
  auto ids = std::vector<ticket>{};
  for (const auto& [id, at] : attempts_)
    if (at.job.session == news.who || (at.job.from == news.who && at.at != stage::running))
      ids.push_back(id);
  for (const auto& id : ids) {
    auto& at = attempts_.at(id);
    if (at.job.from == news.who && at.at != stage::running) {
      marker("decode: writer died");
      leave(now_ns, at);
      fence(at);
    } else {
      stop_attempt(now_ns, id, finish_reason::failed);
    }
  }
  after(now_ns);
}

// -- time and reports -------------------------------------------------------------------------------------------------

/// After everything that may have changed what runs.
void decode_core::after(uint64_t now_ns) {
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
  news.token_capacity = uint64_t{options_.slots} * options_.layout.block_tokens;
  news.running = static_cast<uint32_t>(sequences_.size());
  for (const auto& [id, at] : attempts_) {
    if (at.at == stage::leaving)
      continue;
    news.waiting += at.at == stage::transfer;
    news.queued_tokens += at.tokens_max;
    if (news.full)
      news.active.push_back({id, at.tokens_max, at.job.placement});
  }
  out.to(*reporter_.conductor(), std::move(news));
}

bool decode_core::device_lost(uint64_t now_ns) const {
  return device_broken_ || (step_ && step_since_ns_ + ns(options_.times.device) <= now_ns);
}

void decode_core::tick(uint64_t now_ns) {
  auto late = std::vector<ticket>{};
  for (const auto& [id, at] : attempts_)
    if (at.deadline_ns <= now_ns && at.at != stage::leaving)
      late.push_back(id);
  for (const auto& id : late) {
    marker("decode: deadline");
    stop_attempt(now_ns, id, finish_reason::failed);
  }
  send_tokens(now_ns, ns(options_.times.retry));
  after(now_ns);
}

} // namespace perigee
