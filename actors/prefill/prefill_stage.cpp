// SPDX-License-Identifier: Apache-2.0
#include "actors/core/marker.hpp"
#include "actors/prefill/prefill_core.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

// A stage of a group: runs some layers of every chunk when the stage before has written its activations here, writes
// the KV of these layers to decode and the activations to the next stage, and stays until the head lets it go.

namespace perigee {

prefill_core::attempt* prefill_core::find_stage(const ticket& id) {
  auto* found = find(id);
  return found && found->is_stage() ? found : nullptr;
}

void prefill_core::on(uint64_t now_ns, const stage_job& ask) {
  auto refuse = [&] { out.to(ask.from, stage_left{options_.self, ask.id, true, 0}); };
  if (auto gone = left_.find(ask.id); gone != left_.end()) {
    out.to(ask.from, gone->second.news);
    return;
  }
  if (auto* known = find(ask.id)) {
    if (known->is_stage() && known->job.from == ask.from && known->at == stage::ready)
      tell_ready(*known);
    return;
  }
  auto tokens = static_cast<uint32_t>(ask.tokens.size());
  auto blocks = options_.layout.blocks_for(tokens);
  // Of a head that is not known to live, nobody would say that it is gone.
  auto is_known = prefills_.contains(ask.from);
  auto possible = tokens > 0 && ask.stage + 1 < ask.stages && ask.stages <= stages_max_ && ask.keys.size() <= blocks
                  && ask.chunk_tokens > 0 && ask.chunk_tokens % options_.layout.block_tokens == 0;
  if (!is_known || !possible || over_.covers(ask.id))
    return refuse();
  auto chunks = ask.stage > 0 ? chunks_max(tokens, ask.chunk_tokens) : 0;
  auto slots = queue_.size() < options_.queue_max && inbound_.size() + chunks <= immediate_indices
                 ? pool_.take(blocks, slot_state::live)
                 : std::nullopt;
  if (!slots) {
    marker("prefill: no room for a stage");
    return refuse();
  }
  stop_lower(now_ns, ask.id);
  auto& fresh = attempts_[ask.id];
  fresh.job.from = ask.from;
  fresh.job.id = ask.id;
  fresh.job.tokens = ask.tokens;
  fresh.number = ++numbers_;
  fresh.arrived_ns = now_ns;
  fresh.deadline_ns = now_ns + ask.deadline_ns;
  fresh.slots = std::move(*slots);
  auto& part = fresh.part.emplace();
  part.stage = ask.stage;
  part.stages = ask.stages;
  part.layers = kernels::stage_layers(options_.layout.layers, ask.stage, ask.stages);
  part.chunk_tokens = ask.chunk_tokens;
  part.before = ask.before;
  for (auto i = 0u; i < chunks; ++i)
    part.immediates.push_back(inbound_.open(ask.id));
  by_number_[fresh.number] = ask.id;
  queue_.push_back(ask.id);
  fetch_planned(fresh, plan_fetch(ask.prefix, static_cast<uint32_t>(ask.keys.size()), std::nullopt), ask.keys, now_ns);
}

void prefill_core::tell_ready(attempt& part) {
  out.to(part.job.from, stage_ready{options_.self,
                                    part.job.id,
                                    part.fetched,
                                    {options_.self, options_.remote, part.slots, part.part->immediates}});
}

void prefill_core::on(uint64_t now_ns, const stage_go& order) {
  auto* at = find_stage(order.id);
  if (!at || at->job.from != order.from || at->at == stage::closing)
    return;
  auto& part = *at->part;
  if (!part.going) {
    auto fits = at->at == stage::ready && order.reused < at->job.tokens.size()
                && order.decode.slots.size() == at->slots.size() && order.decode.immediates.size() == 1
                && order.next.slots.size() == at->slots.size();
    if (!fits)
      return close(now_ns, *at, ec::instance_failed, false);
    part.going = true;
    part.next = order.next;
    at->at = stage::computing;
    at->job.decode = order.decode.who;
    at->decode_side = grant::granted;
    at->where = {order.decode.who, order.id, order.decode.region, order.decode.slots, order.decode.immediates[0]};
    at->reused = at->submitted = order.reused;
    if (auto blocks = order.reused / options_.layout.block_tokens; blocks > 0)
      at->pending.push_back({0, blocks, part.layers});
    push_writes(*at);
  }
  tell_progress(*at, now_ns);
  advance(now_ns);
}

void prefill_core::tell_progress(attempt& part, uint64_t now_ns) {
  part.part->retry_ns = now_ns + to_ns(options_.times.retry);
  out.to(part.job.from, stage_progress{options_.self, part.job.id, part.submitted, part.part->done, part.pieces,
                                       part.bytes, part.busy_ns, part.failure});
}

/// A chunk is computed here: the next stage gets what it needs of it.
void prefill_core::pass_on(uint64_t now_ns, attempt& part, const work_item& done) {
  const auto& layout = options_.layout;
  auto& mine = *part.part;
  auto bytes = options_.activation_bytes_block;
  auto from = *kernels::activations_at(layout, mine.layers, bytes);
  auto to = *kernels::activations_at(layout, kernels::stage_layers(layout.layers, mine.stage + 1, mine.stages), bytes);
  auto move = move_blocks{};
  move.id = ++numbers_;
  move.peer = mine.next.who;
  move.local = options_.region;
  move.remote = mine.next.region;
  assert(done.number < mine.next.immediates.size());
  move.immediate = mine.next.immediates[done.number];
  move.deadline_ns = to_ns(options_.times.transfer);
  for (auto block = done.chunk.block_first; block < done.chunk.block_last; ++block)
    move.pieces.push_back({layout.offset(part.slots[block], from), layout.offset(mine.next.slots[block], to), bytes});
  part.moves.insert(move.id);
  by_move_[move.id] = part.job.id;
  local.push_back(std::move(move));
  if (!done.chunk.last)
    return;
  part.at = stage::computed;
  mine.done = true;
  std::erase(queue_, part.job.id);
  tell_progress(part, now_ns);
}

void prefill_core::on(uint64_t now_ns, const stage_release& order) {
  auto* at = find_stage(order.id);
  if (!at) {
    auto gone = left_.find(order.id);
    over_.bury(order.id); // The job may still be on its way.
    out.to(order.from, gone != left_.end() ? gone->second.news : stage_left{options_.self, order.id, true, 0});
    return;
  }
  auto& part = *at->part;
  if (at->job.from != order.from || part.released)
    return;
  part.released = true;
  if (order.fence && part.before.valid())
    fence(*at, std::exchange(part.before, {}));
  if (at->at != stage::computed && at->at != stage::closing) {
    close(now_ns, *at, ec::cancelled, false);
    return advance(now_ns);
  }
  if (at->at == stage::computed && !order.gather.slots.empty() && order.gather.immediates.size() == 1
      && order.block_first + order.gather.slots.size() <= at->slots.size()) {
    const auto& layout = options_.layout;
    auto move = move_blocks{};
    move.id = ++numbers_;
    move.peer = order.gather.who;
    move.local = options_.region;
    move.remote = order.gather.region;
    move.immediate = order.gather.immediates[0];
    move.deadline_ns = to_ns(options_.times.transfer);
    for (auto i = size_t{0}; i < order.gather.slots.size(); ++i)
      move.pieces.push_back({layout.offset(at->slots[order.block_first + i], part.layers.first),
                             layout.offset(order.gather.slots[i], part.layers.first),
                             (part.layers.end - part.layers.first) * layout.layer_bytes});
    part.gathered = 1;
    at->moves.insert(move.id);
    by_move_[move.id] = order.id;
    local.push_back(std::move(move));
  }
  leave_if_quiet(now_ns, *at);
  advance(now_ns);
}

/// The head is gone, and with it who would say that nobody writes here any more: the stage before is asked itself.
void prefill_core::orphan(uint64_t now_ns, attempt& part) {
  auto& mine = *part.part;
  marker("prefill: stage orphaned");
  mine.orphaned = true;
  if (!mine.released && mine.before.valid() && !prefills_.contains(mine.before)) {
    fence(part, std::exchange(mine.before, {})); // It died before it was named here.
  } else if (!mine.released && mine.before.valid()) {
    mine.asks_before = true;
    mine.retry_ns = now_ns + to_ns(options_.times.retry);
    out.to(mine.before, cancel{options_.self, 0, part.job.id});
  }
  if (part.at != stage::closing)
    close(now_ns, part, ec::peer_lost, false);
  else
    leave_if_quiet(now_ns, part);
}

void prefill_core::peer_lost(uint64_t now_ns, attempt& part, const address& gone) {
  auto& mine = *part.part;
  if (auto* member = mine.find(gone))
    return member_lost(now_ns, part, *member);
  if (mine.before == gone) {
    mine.before = {};
    mine.asks_before = false;
    fence(part, gone);
  }
  if (part.is_stage() && part.job.from == gone)
    orphan(now_ns, part);
}

void prefill_core::on(uint64_t, const cancelled& answer) {
  auto* at = find_stage(answer.id);
  if (!at || !at->part->asks_before || at->part->before != answer.from)
    return;
  at->part->asks_before = false;
  at->part->before = {};
  fence(*at, answer.from); // Whether its writes ended well is not said.
}

/// A stage that is over is forgotten when nothing touches its slots any more.
void prefill_core::leave_if_quiet(uint64_t now_ns, attempt& part) {
  const auto& mine = *part.part;
  auto may_go = (mine.released || mine.orphaned) && !mine.asks_before && mine.fences == 0;
  if (!may_go || part.fetching || !part.moves.empty() || !part.work.empty())
    return;
  auto id = part.job.id;
  for (auto slot : part.slots)
    pool_.drop_ref(slot);
  close_inbound(part);
  if (part.cancel_asked_by)
    out.to(*part.cancel_asked_by, cancelled{options_.self, id});
  if (!mine.orphaned) {
    auto news = stage_left{options_.self, id, part.clean, mine.gathered};
    left_[id] = {part.job.from, news, now_ns + to_ns(options_.times.retry)};
    out.to(part.job.from, news);
  }
  over_.bury(id);
  by_number_.erase(part.number);
  attempts_.erase(id);
}

void prefill_core::on(uint64_t, const stage_left_ack& ack) {
  if (auto at = left_.find(ack.id); at != left_.end() && at->second.head == ack.from)
    left_.erase(at);
}

void prefill_core::close_inbound(const attempt& ended) {
  for (auto immediate : ended.part->immediates)
    inbound_.close(immediate);
  if (ended.part->is_head())
    inbound_.close(ended.part->gather);
}

void prefill_core::on(uint64_t now_ns, const arrived& news) {
  auto id = inbound_.find(news.immediate);
  if (!id) {
    marker("prefill: late write");
    return;
  }
  auto& at = attempts_.at(*id);
  auto& part = *at.part;
  part.moved_on_ns = now_ns;
  if (part.is_head() && news.immediate == part.gather) {
    ++part.gather_arrived;
    if (part.all(group_part::member::stage::left))
      finish_gathering(at, now_ns);
    finish_if_quiet(now_ns, *id);
  } else {
    part.arrived.push_back(news.immediate);
  }
  advance(now_ns);
}

void prefill_core::tick_stage(uint64_t now_ns, attempt& part) {
  auto& mine = *part.part;
  if (mine.retry_ns > now_ns)
    return;
  if (mine.asks_before) {
    mine.retry_ns = now_ns + to_ns(options_.times.retry);
    out.to(mine.before, cancel{options_.self, 0, part.job.id});
  } else if (!mine.released && !mine.orphaned && (mine.done || part.at == stage::closing)) {
    tell_progress(part, now_ns);
  }
}

void prefill_core::tick_groups(uint64_t now_ns) {
  auto in_groups = std::vector<ticket>{};
  for (const auto& [id, at] : attempts_)
    if (at.part)
      in_groups.push_back(id);
  for (const auto& id : in_groups)
    if (auto* at = find(id); at && at->is_stage())
      tick_stage(now_ns, *at);
    else if (at && at->part)
      tick_head(now_ns, *at);
  auto again_ns = now_ns + to_ns(options_.times.retry);
  for (auto& [whom, retry_ns] : dismissed_)
    if (retry_ns <= now_ns) {
      retry_ns = again_ns;
      out.to(whom.second, stage_release{options_.self, whom.first, false, 0, {}});
    }
  for (auto& [id, departure] : left_)
    if (departure.retry_ns <= now_ns) {
      departure.retry_ns = again_ns;
      out.to(departure.head, departure.news);
    }
}

} // namespace perigee
