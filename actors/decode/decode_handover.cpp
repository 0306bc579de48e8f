// SPDX-License-Identifier: Apache-2.0
#include "actors/core/marker.hpp"
#include "actors/decode/decode_core.hpp"
#include "actors/prefill/prefix_plan.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

namespace perigee {

namespace {

constexpr auto tokens_expected = 1024u; // of an answer, to make room for at once

} // namespace

void decode_core::on(uint64_t now_ns, reserve request) {
  auto refuse = [&](ec reason) { out.to(request.from, refused{options_.self, request.id, request.revision, reason}); };
  if (auto* known = find(request.id)) {
    if (known->at == stage::transfer && known->job.from == request.from && known->fetch == 0)
      grant(*known);
    else if (known->at == stage::leaving)
      refuse(ec::stale);
    return;
  }
  if (over_.covers(request.id)) {
    marker("decode: stale reserve");
    return refuse(ec::stale);
  }
  if (refused_.covers(request.id, request.revision)) {
    marker("decode: refused again");
    return refuse(ec::out_of_blocks);
  }
  stop_lower(now_ns, request.id);
  auto need = options_.layout.blocks_for(request.tokens.size());
  auto room = pool_.count(slot_state::free);
  // Every running sequence may need its next block before this one joins.
  if (need == 0 || request.gen.choices.empty() || room < need + sequences_.size() || inbound_.full()) {
    marker("decode: refused");
    refused_.add(request.id, request.revision);
    return refuse(ec::out_of_blocks);
  }
  auto& fresh = attempts_[request.id];
  fresh.job = std::move(request);
  fresh.deadline_ns = now_ns + fresh.job.deadline_ns;
  fresh.slots = *pool_.take(need, slot_state::transfer);
  fresh.immediate = inbound_.open(fresh.job.id);
  fresh.tells_first = is_slow();
  fresh.writers = {fresh.job.from};
  fresh.tokens_max = fresh.job.tokens.size();
  if (!look_beside(fresh))
    grant(fresh);
}

void decode_core::grant(const attempt& at) {
  auto slots = at.slots;
  std::fill_n(slots.begin(), at.here, no_slot);
  out.to(at.job.from, granted{options_.self, at.job.id, options_.region, std::move(slots), at.immediate, at.tells_first});
}

/// What a shard beside it can lend need not be written here. Returns whether that is being asked.
bool decode_core::look_beside(attempt& fresh) {
  auto blocks = lendable_blocks(options_.layout.block_tokens, static_cast<uint32_t>(fresh.job.tokens.size()));
  if (!options_.lent || !local_shard_ || blocks == 0 || !fresh.job.stages.empty())
    return false;
  auto tokens = std::span<const token_id>{fresh.job.tokens}.first(blocks * options_.layout.block_tokens);
  fresh.fetch = ++numbers_;
  fetches_[fresh.fetch] = fresh.job.id;
  auto order = fetch{fresh.fetch,
                     chain_keys(fresh.job.root, tokens, options_.layout.block_tokens),
                     {fresh.slots.begin(), fresh.slots.begin() + blocks},
                     {{*local_shard_, blocks}},
                     to_ns(options_.times.transfer)};
  order.lend = blocks;
  local.push_back(std::move(order));
  return true;
}

void decode_core::looked_beside(uint64_t now_ns, attempt& at, const fetched& answer) {
  at.fetch = 0;
  at.here = answer.blocks;
  if (at.here > 0)
    marker("decode: prefix is here");
  if (!answer.lent.empty())
    at.lent_by = answer.id;
  for (auto i = size_t{0}; i < answer.lent.size(); ++i)
    if (answer.lent[i] != no_slot) {
      pool_.free(std::exchange(at.slots[i], answer.lent[i]));
      at.lent.push_back(answer.lent[i]);
    }
  if (at.at == stage::leaving) {
    marker("decode: left while it looked beside");
    free_transfer(at.job.id);
  } else {
    grant(at);
  }
  after(now_ns);
}

void decode_core::on(uint64_t now_ns, const arrived& news) {
  auto id = inbound_.find(news.immediate);
  if (!id) {
    marker("decode: late write");
    return;
  }
  ++attempts_.at(*id).arrived;
  try_join(now_ns, *id);
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
  inbound_.close(at.immediate);
  joined_.bury(id);
  for (auto slot : at.slots)
    if (!is_lent(slot)) {
      pool_.to_live(slot);
      written_.push_back(slot);
    }
  out.to(at.job.from, joined{options_.self, id});
  auto news = *std::exchange(at.announced, std::nullopt);
  fork(now_ns, at, news.first_tokens, news.reused);
  after(now_ns);
}

/// One sequence per choice: full blocks of the prompt are shared, its partial tail is copied.
void decode_core::fork(uint64_t now_ns, attempt& owner, const std::vector<token_id>& first_tokens, uint32_t reused) {
  const auto& job = owner.job;
  auto slots = std::exchange(owner.slots, {});
  auto id = job.id;
  auto copies = kernels::copy_work{};
  auto shared = job.tokens.size() / options_.layout.block_tokens;
  auto ended = std::vector<std::pair<uint64_t, finish_reason>>{};
  owner.open = static_cast<uint32_t>(job.gen.choices.size());
  auto is_held = owner.tells_first && breaks_gap(now_ns);
  if (is_held)
    marker("decode: first token waits for the step");
  for (auto i = size_t{0}; i < job.gen.choices.size(); ++i) {
    const auto& choice = job.gen.choices[i];
    auto order = ++orders_;
    auto& fresh = sequences_[order];
    fresh.id = id;
    fresh.order = order;
    fresh.choice = choice.choice;
    fresh.owner = &owner;
    fresh.fresh.reserve(std::min(job.gen.max_tokens, tokens_expected));
    fresh.fresh.push_back(first_tokens[i]);
    fresh.blocks = slots;
    auto torn = false;
    if (i > 0) {
      for (auto block = size_t{0}; block < shared; ++block)
        add_ref(slots[block]);
      fresh.blocks.resize(shared);
      if (slots.size() > shared) {
        if (auto own = pool_.take_one(slot_state::live)) {
          fresh.blocks.push_back(*own);
          copies.slots.emplace_back(slots[shared], *own);
        } else {
          torn = true;
        }
      }
    }
    fresh.stream = &tokens_.open(id, choice.choice, job.session, choice.generated, reused);
    auto finish = job.gen.finish_after(first_tokens[i], choice.generated + 1);
    if (is_held && finish == finish_reason::none && !torn)
      first_held_.push_back(order);
    else
      tokens_.push(*fresh.stream, first_tokens[i]);
    if (torn)
      ended.emplace_back(order, finish_reason::preempted);
    else if (finish != finish_reason::none)
      ended.emplace_back(order, finish);
  }
  if (!copies.slots.empty()) {
    marker("decode: forked");
    copies.id = ++numbers_;
    auto& held = copies_[copies.id] = {now_ns, {}};
    for (auto [from, to] : copies.slots)
      for (auto slot : {from, to}) {
        pool_.add_ref(slot); // Its sequence may end, and a peer be given the slot to write to, before the copy ran.
        held.slots.push_back(slot);
      }
    // Runs before the next step, because the stream keeps the order.
    local.push_back(run_copy{std::move(copies), std::exchange(written_, {})});
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
  // It speaks for the stages of its group, too.
  auto is_news = !known->asks_stages && !std::exchange(known->writers, {}).empty();
  if (is_news && !news.clean) {
    fence(*known, news.from);
    for (const auto& stage : known->job.stages)
      fence(*known, stage);
  }
  free_transfer(news.id);
  after(now_ns);
}

/// A writer died. What it wrote is fenced; if it was the head of a group, the stages may still write and are asked
/// each.
void decode_core::writer_lost(uint64_t now_ns, attempt& written, const address& gone) {
  marker("decode: writer died");
  leave(now_ns, written);
  fence(written, gone);
  std::erase(written.writers, gone);
  std::erase(written.job.stages, gone);
  if (written.job.from == gone) {
    written.asks_stages = !written.job.stages.empty();
    for (const auto& stage : written.job.stages)
      if (prefills_.contains(stage))
        written.writers.push_back(stage);
      else
        fence(written, stage); // It died before it was named here.
    ask_stages(now_ns, written);
  }
  free_transfer(written.job.id);
}

void decode_core::ask_stages(uint64_t now_ns, attempt& written) {
  written.retry_ns = now_ns + to_ns(options_.times.retry);
  for (const auto& stage : written.writers)
    out.to(stage, cancel{options_.self, 0, written.job.id});
}

void decode_core::on(uint64_t now_ns, const cancelled& answer) {
  auto* known = find(answer.id);
  if (!known || !known->asks_stages || std::erase(known->writers, answer.from) == 0)
    return;
  fence(*known, answer.from); // Whether its writes ended well is not said.
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
  if (unwanted.prompt)
    leave_prompt(unwanted);
  else if (unwanted.fetch != 0)
    local.push_back(cancel_store{unwanted.fetch});
}

void decode_core::fence(attempt& written, const address& writer) {
  auto number = ++numbers_;
  fences_[number] = written.job.id;
  ++written.fences;
  local.push_back(fence_node{number, writer});
}

void decode_core::on(uint64_t now_ns, const node_fenced& news) {
  auto at = fences_.find(news.id);
  if (at == fences_.end())
    return;
  marker("decode: writer fenced");
  auto id = at->second;
  fences_.erase(at);
  --attempts_.at(id).fences;
  free_transfer(id);
  after(now_ns);
}

/// If nobody can write to its slots any more.
void decode_core::free_transfer(const ticket& id) {
  auto& at = attempts_.at(id);
  if (!at.writers.empty() || at.fences > 0 || at.fetch != 0)
    return;
  assert(at.at == stage::leaving);
  for (auto slot : at.slots)
    if (!is_lent(slot))
      pool_.free(slot);
  return_lent(at);
  inbound_.close(at.immediate);
  over_.bury(id);
  attempts_.erase(id);
}

} // namespace perigee
