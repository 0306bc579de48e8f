// SPDX-License-Identifier: Apache-2.0
#include "actors/core/marker.hpp"
#include "actors/prefill/prefill_core.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

// The head of a group: forms it, starts it, gathers what it offers to a shard, and lets the stages go one after the
// other, so that nobody's blocks are free while the stage before may still write to them.

namespace perigee {

namespace {

using member = group_part::member;

} // namespace

prefill_core::attempt* prefill_core::find_head(const ticket& id) {
  auto* found = find(id);
  return found && found->part && found->part->is_head() ? found : nullptr;
}

// -- before it begins -------------------------------------------------------------------------------------------------

void prefill_core::form_group(attempt& head, const fetch_plan& plan, uint64_t now_ns) {
  const auto& group = head.job.group;
  auto stages = static_cast<uint32_t>(group.others.size()) + 1;
  auto chunk_tokens = whole_blocks(group.chunk_tokens, options_.layout.block_tokens);
  auto chunks = chunks_max(static_cast<uint32_t>(head.job.tokens.size()), chunk_tokens);
  // Of one that is not known to live, nobody would say that it is gone, and its blocks would be waited for for ever.
  auto all_live = std::ranges::all_of(group.others, [&](const auto& who) { return prefills_.contains(who); });
  if (!all_live || stages > stages_max_ || inbound_.size() + chunks + 1 > immediate_indices) {
    marker("prefill: cannot head a group");
    head.job.group = {};
    return;
  }
  auto& part = head.part.emplace();
  part.stage = stages - 1;
  part.stages = stages;
  part.layers = kernels::stage_layers(options_.layout.layers, part.stage, stages);
  part.chunk_tokens = chunk_tokens;
  for (auto i = 0u; i < chunks; ++i)
    part.immediates.push_back(inbound_.open(head.job.id));
  part.gather = inbound_.open(head.job.id);
  part.plan = plan.segments;
  part.plan_blocks = plan.blocks;
  for (const auto& who : group.others)
    part.members.emplace_back().who = who;
  for (auto& whom : part.members)
    ask_stage(head, whom, now_ns);
}

void prefill_core::ask_stage(attempt& head, member& whom, uint64_t now_ns) {
  const auto& part = *head.part;
  auto ask = stage_job{};
  ask.from = options_.self;
  ask.id = head.job.id;
  ask.stage = static_cast<uint32_t>(&whom - part.members.data());
  ask.stages = part.stages;
  ask.chunk_tokens = part.chunk_tokens;
  if (ask.stage > 0)
    ask.before = part.members[ask.stage - 1].who;
  ask.tokens = head.job.tokens;
  ask.prefix = part.plan;
  ask.keys.assign(head.keys.begin(), head.keys.begin() + part.plan_blocks);
  ask.deadline_ns = head.deadline_ns > now_ns ? head.deadline_ns - now_ns : 0;
  whom.retry_ns = now_ns + to_ns(options_.times.retry);
  out.to(whom.who, std::move(ask));
}

void prefill_core::on(uint64_t now_ns, const stage_ready& answer) {
  auto* head = find_head(answer.id);
  auto* from = head ? head->part->find(answer.from) : nullptr;
  if (!from || from->at != member::stage::asked || head->at == stage::closing)
    return;
  auto is_first = from == head->part->members.data(); // Nobody writes there.
  if (answer.here.slots.size() != head->slots.size()
      || (!is_first && answer.here.immediates.size() != head->part->immediates.size())) {
    dissolve_group(*head, now_ns);
    return advance(now_ns);
  }
  from->place = answer;
  from->at = member::stage::ready;
  from->tries = 0;
  begin_group(*head, now_ns);
}

/// The head computes the prompt alone after all. Nobody has written anything yet.
void prefill_core::dissolve_group(attempt& head, uint64_t now_ns) {
  assert(head.part && !head.part->going);
  marker("prefill: group fell through");
  for (const auto& other : head.part->members)
    if (other.at != member::stage::left) {
      dismissed_[{head.job.id, other.who}] = now_ns + to_ns(options_.times.retry);
      out.to(other.who, stage_release{options_.self, head.job.id, false, 0, {}});
    }
  close_inbound(head);
  head.part.reset();
  head.job.group = {};
  if (head.at != stage::computing)
    return;
  head.at = stage::ready;
  head.reused =
    reused_tokens(head.fetched, options_.layout.block_tokens, static_cast<uint32_t>(head.job.tokens.size()));
  head.submitted = head.reused;
}

/// When all have what they can have of the prefix, decode is asked for slots.
void prefill_core::begin_group(attempt& head, uint64_t now_ns) {
  if (head.at != stage::ready || !head.part->all(member::stage::ready))
    return;
  auto blocks = head.fetched;
  for (const auto& other : head.part->members)
    blocks = std::min(blocks, other.place.blocks);
  head.reused = reused_tokens(blocks, options_.layout.block_tokens, static_cast<uint32_t>(head.job.tokens.size()));
  head.submitted = head.reused;
  head.at = stage::computing;
  ask_decode(head, now_ns);
}

// -- under way --------------------------------------------------------------------------------------------------------

/// Decode has granted slots: everybody hears where to write.
void prefill_core::start_group(attempt& head, uint64_t now_ns) {
  auto& part = *head.part;
  marker("prefill: group goes");
  part.going = true;
  part.moved_on_ns = now_ns;
  if (auto blocks = head.reused / options_.layout.block_tokens; blocks > 0)
    head.pending.push_back({0, blocks, part.layers});
  for (auto& whom : part.members) {
    whom.at = member::stage::going;
    order(head, whom, now_ns);
  }
}

void prefill_core::order(attempt& head, member& to, uint64_t now_ns) {
  const auto& part = *head.part;
  auto following = static_cast<size_t>(&to - part.members.data()) + 1;
  auto go = stage_go{};
  go.from = options_.self;
  go.id = head.job.id;
  go.reused = head.reused;
  go.decode = {head.where.from, head.where.region, head.where.slots, {head.where.immediate}};
  if (following < part.members.size())
    go.next = part.members[following].place.here;
  else
    go.next = {options_.self, options_.remote, head.slots, part.immediates};
  to.retry_ns = now_ns + to_ns(options_.times.retry) * (to.heard ? 4 : 1);
  out.to(to.who, std::move(go));
}

void prefill_core::on(uint64_t now_ns, const stage_progress& news) {
  auto* head = find_head(news.id);
  auto* from = head ? head->part->find(news.from) : nullptr;
  if (!from || head->at == stage::closing || from->at >= member::stage::releasing)
    return;
  if (news.failure != ec::none) {
    marker("prefill: stage failed");
    if (head->part->going)
      close(now_ns, *head, news.failure, true);
    else
      dissolve_group(*head, now_ns);
    return advance(now_ns);
  }
  if (from->at != member::stage::going)
    return;
  from->heard = true;
  from->tries = 0;
  if (news.computed > from->news.computed || news.done)
    head->part->moved_on_ns = now_ns;
  from->news = news;
  if (!news.done)
    return;
  from->at = member::stage::done;
  report_computed(*head);
  announce(*head, now_ns);
  dismiss(*head, now_ns);
  advance(now_ns);
}

// -- its end ----------------------------------------------------------------------------------------------------------

/// Lets the next stage go, if it may.
void prefill_core::dismiss(attempt& head, uint64_t now_ns) {
  for (auto& other : head.part->members) {
    if (other.at == member::stage::left)
      continue;
    auto may_go = head.at == stage::closing || (head.at == stage::computed && other.at == member::stage::done);
    if (other.at != member::stage::releasing && may_go)
      release(head, other, now_ns);
    return;
  }
  finish_gathering(head, now_ns);
}

void prefill_core::release(attempt& head, member& whom, uint64_t now_ns) {
  const auto& part = *head.part;
  auto place = static_cast<size_t>(&whom - part.members.data());
  auto order = stage_release{options_.self, head.job.id, false, 0, {}};
  order.fence = place > 0 && part.going && !part.members[place - 1].clean;
  auto first = first_offered(head);
  if (head.at == stage::computed && first < head.keys.size()) {
    order.block_first = first;
    order.gather = {options_.self,
                    options_.remote,
                    {head.slots.begin() + first, head.slots.begin() + static_cast<ptrdiff_t>(head.keys.size())},
                    {part.gather}};
  }
  whom.at = member::stage::releasing;
  whom.retry_ns = now_ns + to_ns(options_.times.retry);
  out.to(whom.who, std::move(order));
}

void prefill_core::on(uint64_t now_ns, const stage_left& news) {
  out.to(news.from, stage_left_ack{options_.self, news.id});
  dismissed_.erase({news.id, news.from});
  auto* head = find_head(news.id);
  auto* from = head ? head->part->find(news.from) : nullptr;
  if (!from || from->at == member::stage::left)
    return;
  auto by_itself = from->at != member::stage::releasing && head->at != stage::closing;
  from->at = member::stage::left;
  from->clean = news.clean;
  from->gathered = news.pieces;
  head->part->moved_on_ns = now_ns;
  if (head->part->going && !news.clean)
    fence(*head, news.from);
  if (by_itself && !head->part->going)
    dissolve_group(*head, now_ns);
  else if (by_itself)
    close(now_ns, *head, ec::peer_lost, true);
  else {
    dismiss(*head, now_ns);
    finish_if_quiet(now_ns, news.id);
  }
  advance(now_ns);
}

void prefill_core::member_lost(uint64_t now_ns, attempt& head, member& gone) {
  if (gone.at == member::stage::left)
    return;
  marker("prefill: stage lost");
  gone.at = member::stage::left;
  if (!head.part->going && head.at != stage::closing)
    return dissolve_group(head, now_ns);
  if (head.part->going) {
    gone.clean = false;
    fence(head, gone.who);
  }
  auto is_over = head.at == stage::closing
                 || (head.at == stage::computed && (head.decode_side == grant::joined || head.finished_here));
  if (!is_over)
    return close(now_ns, head, ec::peer_lost, true);
  auto id = head.job.id;
  dismiss(head, now_ns);
  finish_if_quiet(now_ns, id);
}

/// When all stages have left: offers the blocks if all their layers are here.
void prefill_core::finish_gathering(attempt& head, uint64_t) {
  auto& part = *head.part;
  if (!part.gathering || head.at != stage::computed)
    return;
  auto pieces = 0u;
  auto complete = true;
  for (const auto& other : part.members) {
    pieces += other.gathered;
    complete &= other.at == member::stage::left && other.clean && other.gathered > 0;
  }
  if (complete && part.gather_arrived < pieces)
    return; // On its way.
  part.gathering = false;
  if (complete)
    offer(head);
  else
    stores_no_more(head);
}

void prefill_core::tick_head(uint64_t now_ns, attempt& head) {
  auto& part = *head.part;
  auto is_due = [&](const member& it) { return it.retry_ns <= now_ns; };
  for (auto& other : part.members) {
    if (!is_due(other))
      continue;
    if (other.at == member::stage::releasing) {
      release(head, other, now_ns);
    } else if (head.at == stage::closing) {
      continue;
    } else if (other.at == member::stage::asked) {
      if (++other.tries > prefill_tries_max)
        return dissolve_group(head, now_ns);
      ask_stage(head, other, now_ns);
    } else if (other.at == member::stage::going) {
      if (++other.tries > prefill_tries_max) {
        marker("prefill: stage silent");
        return close(now_ns, head, ec::peer_lost, true);
      }
      order(head, other, now_ns);
    }
  }
  auto patience_ns = to_ns(options_.times.transfer) + to_ns(options_.times.device);
  if (!part.going || head.at == stage::closing || part.moved_on_ns + patience_ns > now_ns)
    return;
  if (head.at == stage::computing) {
    marker("prefill: group stands still");
    return close(now_ns, head, ec::peer_lost, true);
  }
  if (part.gathering && part.all(member::stage::left)) {
    marker("prefill: gathered layers never came");
    part.gathering = false;
    stores_no_more(head);
    finish_if_quiet(now_ns, ticket{head.job.id});
  }
}

} // namespace perigee
