// SPDX-License-Identifier: Apache-2.0
#include "actors/core/marker.hpp"
#include "actors/prefill/prefill_core.hpp"

#include <cassert>
#include <utility>

namespace perigee {

void prefill_core::ask_decode(attempt& next, uint64_t now_ns) {
  const auto& job = next.job;
  next.decode_side = grant::asked;
  next.decode_knows = true;
  next.retry_ns = now_ns + to_ns(options_.times.retry);
  ++next.tries;
  out.to(job.decode, reserve{options_.self, job.id, job.term, job.revision, job.placement, job.from, job.tokens,
                             job.root, job.gen, next.deadline_ns > now_ns ? next.deadline_ns - now_ns : 0,
                             next.part ? job.group.others : std::vector<address>{}});
}

void prefill_core::ask_redirect(attempt& next, uint64_t now_ns) {
  next.retry_ns = now_ns + to_ns(options_.times.retry);
  ++next.tries;
  if (reporter_.conductor())
    out.to(*reporter_.conductor(), redirect{options_.self, next.job.id, next.job.revision});
}

void prefill_core::on(uint64_t now_ns, const granted& answer) {
  auto* next = find(answer.id);
  if (!next || next->at == stage::closing || next->decode_side != grant::asked || answer.from != next->job.decode)
    return;
  if (answer.slots.size() != next->slots.size())
    return close(now_ns, *next, ec::instance_failed, true);
  next->decode_side = grant::granted;
  next->where = answer;
  next->tries = 0;
  if (next->part)
    start_group(*next, now_ns);
  push_writes(*next);
  announce(*next, now_ns);
  if (next->part || next->layered)
    advance(now_ns);
}

void prefill_core::on(uint64_t now_ns, const refused& answer) {
  auto* next = find(answer.id);
  if (!next || next->at == stage::closing || answer.from != next->job.decode || answer.revision != next->job.revision)
    return;
  marker("prefill: decode refused");
  if (next->decode_side == grant::asked && answer.reason == ec::out_of_blocks && !next->finished_here) {
    next->decode_knows = false;
    next->decode_side = grant::redirecting;
    next->tries = 0;
    ask_redirect(*next, now_ns);
    if (!next->layered || next->at != stage::computing)
      return;
    stores_no_more(*next); // It stands still until somebody grants: nobody is to wait for what it would store.
    return advance(now_ns);
  }
  auto is_repeated = next->decode_side == grant::redirecting;
  if (is_repeated || next->finished_here || next->decode_side == grant::joined)
    return;
  close(now_ns, *next, ec::peer_lost, true);
}

void prefill_core::on(uint64_t now_ns, const redirected& answer) {
  auto* next = find(answer.id);
  if (!next || next->decode_side != grant::redirecting || next->at == stage::closing)
    return;
  if (answer.term < reporter_.term()) {
    marker("prefill: redirected by a Conductor of the past");
    return; // The reigning one is being asked.
  }
  next->tries = 0;
  if (answer.reason == ec::out_of_blocks)
    return; // What is computed stays computed: asked again at the next retry.
  if (answer.reason != ec::none)
    return close(now_ns, *next, answer.reason, true);
  if (answer.revision <= next->job.revision)
    return;
  marker("prefill: redirected");
  auto elsewhere = answer.decode != next->job.decode;
  next->job.revision = answer.revision;
  next->job.decode = answer.decode;
  next->decode_side = grant::asked;
  if (elsewhere)
    ask_decode(*next, now_ns);
  else
    next->retry_ns = now_ns + to_ns(options_.times.retry); // It has just refused.
}

void prefill_core::push_writes(attempt& next) {
  if (next.decode_side != grant::granted || next.finished_here)
    return;
  for (const auto& write : std::exchange(next.pending, {})) {
    if (next.borrowed)
      push_write(next, write, true);
    push_write(next, write, false);
  }
}

/// Those of the blocks that are lent, or those that are not: a transfer has one source.
void prefill_core::push_write(attempt& next, const attempt::write& what, bool lent) {
  const auto& layout = options_.layout;
  auto move = move_blocks{};
  auto layer = what.layers.first;
  auto bytes = (what.layers.end_of(layout.layers) - layer) * layout.layer_bytes;
  for (auto block = what.block_first; block < what.block_last; ++block)
    if (is_lent(next.slots[block]) == lent && next.where.slots[block] != no_slot)
      move.pieces.push_back(
        {offset_of(next, block, layer), layout.offset(next.where.slots[block], layer), bytes});
  // Of a prompt that goes layer by layer, everything from the first computed block on comes out of the ring.
  auto from_ring = next.layered && !lent && what.block_first >= next.fetched;
  if (move.pieces.empty()) {
    if (from_ring)
      next.layered->ring.release(layer);
    return;
  }
  move.id = ++numbers_;
  if (from_ring)
    next.layered->moves[move.id] = layer;
  move.peer = next.where.from;
  move.local = lent ? options_.lent->region : options_.region;
  move.remote = next.where.region;
  move.immediate = next.where.immediate;
  move.deadline_ns = to_ns(options_.times.transfer);
  next.bytes += bytes * move.pieces.size();
  ++next.pieces;
  next.moves.insert(move.id);
  by_move_[move.id] = next.job.id;
  local.push_back(std::move(move));
}

void prefill_core::on(uint64_t now_ns, const moved& answer) {
  auto at = by_move_.find(answer.id);
  if (at == by_move_.end())
    return;
  auto id = at->second;
  by_move_.erase(at);
  auto* next = find(id);
  assert(next);
  next->moves.erase(answer.id);
  if (next->layered)
    if (auto layer = next->layered->moves.extract(answer.id))
      next->layered->ring.release(layer.mapped());
  if (!answer.outcome.ok()) {
    if (answer.outcome.code == errc::peer_lost || answer.outcome.code == errc::timed_out)
      next->clean = false;
    if (next->at != stage::closing && next->decode_side != grant::joined && !next->finished_here) {
      marker("prefill: write failed");
      close(now_ns, *next, ec::peer_lost, true);
      return advance(now_ns);
    }
  }
  finish_if_quiet(now_ns, id);
  advance(now_ns);
}

void prefill_core::announce(attempt& next, uint64_t now_ns) {
  if (next.is_stage() || next.at != stage::computed || next.finished_here || next.decode_side != grant::granted
      || !next.pending.empty())
    return;
  auto pieces = next.pieces;
  auto bytes = next.bytes;
  if (next.part) {
    if (!next.part->all(group_part::member::stage::done))
      return;
    for (const auto& other : next.part->members) {
      pieces += other.news.pieces;
      bytes += other.news.bytes;
    }
  }
  next.announced = true;
  next.retry_ns = now_ns + to_ns(options_.times.retry);
  out.to(next.where.from, handed_over{options_.self, next.job.id, next.first_tokens, pieces, bytes, next.reused});
}

void prefill_core::on(uint64_t now_ns, const joined& answer) {
  auto* next = find(answer.id);
  if (!next || answer.from != next->job.decode || next->at != stage::computed || !next->announced)
    return;
  next->decode_side = grant::joined;
  tokens_.drop_unfinished(answer.id);
  finish_if_quiet(now_ns, answer.id);
  advance(now_ns);
}

/// Afterwards no write of that writer can land any more.
void prefill_core::fence(attempt& written, const address& writer) {
  marker("prefill: writer fenced");
  auto number = ++numbers_;
  fences_[number] = written.job.id;
  ++written.part->fences;
  local.push_back(fence_node{number, writer});
}

void prefill_core::on(uint64_t now_ns, const node_fenced& news) {
  auto at = fences_.find(news.id);
  if (at == fences_.end())
    return;
  auto id = at->second;
  fences_.erase(at);
  --attempts_.at(id).part->fences;
  finish_if_quiet(now_ns, id);
  advance(now_ns);
}

void prefill_core::on(uint64_t, const quiesced_ack& answer) {
  farewells_.on(answer);
}

} // namespace perigee
