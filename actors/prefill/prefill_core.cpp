// SPDX-License-Identifier: Apache-2.0
#include "actors/prefill/prefill_core.hpp"

#include "actors/core/marker.hpp"
#include "actors/prefill/chunk_plan.hpp"
#include "actors/prefill/prefix_plan.hpp"

#include <algorithm>
#include <cassert>

namespace perigee {

namespace {

constexpr auto stages_most = 8u;

} // namespace

prefill_core::prefill_core(prefill_options options)
  : options_(std::move(options)), pool_(options_.slots), farewells_(options_.self, to_ns(options_.times.retry)),
    reporter_(options_.self, to_ns(options_.times.report)) {
  options_.chunk_tokens = whole_blocks(options_.chunk_tokens, options_.layout.block_tokens);
  stages_max_ = kernels::stages_max(options_.layout, options_.activation_bytes_block, stages_most);
}

prefill_core::attempt* prefill_core::find(const ticket& id) {
  auto at = attempts_.find(id);
  return at == attempts_.end() ? nullptr : &at->second;
}

prefill_core::attempt* prefill_core::find_number(uint64_t number) {
  auto at = by_number_.find(number);
  return at == by_number_.end() ? nullptr : find(at->second);
}

// -- jobs -------------------------------------------------------------------------------------------------------------

void prefill_core::on(uint64_t now_ns, prefill_job job) {
  if (attempts_.contains(job.id)) {
    out.to(job.from, job_ack{options_.self, job.id});
    return;
  }
  auto refuse = [&](ec reason) { out.to(job.from, job_failed{options_.self, job.id, reason}); };
  if (over_.covers(job.id)) {
    marker("prefill: stale job");
    return refuse(ec::stale);
  }
  if (job.tokens.empty() || job.gen.choices.empty() || job.keys.size() > options_.layout.blocks_for(job.tokens.size())
      || options_.layout.blocks_for(job.tokens.size()) > options_.slots)
    return refuse(ec::too_long);
  if (queue_.size() >= options_.queue_max)
    return refuse(ec::overloaded);
  stop_lower(now_ns, job.id);
  auto id = job.id;
  auto& fresh = attempts_[id];
  fresh.job = std::move(job);
  fresh.number = ++numbers_;
  fresh.arrived_ns = now_ns;
  fresh.deadline_ns = now_ns + fresh.job.deadline_ns;
  fresh.keys = std::move(fresh.job.keys);
  fresh.will_store = true;
  coming_.add(fresh.number, fresh.keys);
  by_number_[fresh.number] = id;
  queue_.push_back(id);
  unadmitted_.push_back(id);
  out.to(fresh.job.from, job_ack{options_.self, id});
  advance(now_ns);
}

/// A higher attempt cancels the lower ones.
void prefill_core::stop_lower(uint64_t now_ns, const ticket& id) {
  for (auto at = attempts_.lower_bound({id.request, 0}); at != attempts_.end() && at->first < id;) {
    auto& lower = (at++)->second;
    marker("prefill: higher attempt");
    if (lower.at != stage::closing)
      close(now_ns, lower, ec::stale, false);
  }
  if (id.attempt > 0)
    over_.bury({id.request, id.attempt - 1});
}

/// Whatever can go on, goes on: called after everything that may have freed something.
void prefill_core::advance(uint64_t now_ns) {
  admit(now_ns);
  start_compute(now_ns);
  send_tokens(now_ns, UINT64_MAX);
  if (reporter_.due(now_ns))
    send_report(now_ns);
}

void prefill_core::admit(uint64_t now_ns) {
  for (auto place = size_t{0}; place < unadmitted_.size();) {
    auto& next = attempts_.at(unadmitted_[place]);
    if (waits_for_sibling(next)) {
      ++place;
      continue;
    }
    if (!take_slots(next))
      return; // First come, first served: a short job does not overtake a long one for slots.
    unadmitted_.erase(unadmitted_.begin() + static_cast<std::ptrdiff_t>(place));
    start_fetch(next, now_ns);
  }
}

/// Whether an earlier attempt here is about to store more of this prefix than can be fetched now.
bool prefill_core::waits_for_sibling(const attempt& next) const {
  auto planned = uint32_t{0};
  for (const auto& segment : next.job.prefix)
    planned += segment.blocks;
  return coming_.more_than(planned, next.number, next.keys);
}

void prefill_core::stores_no_more(attempt& at) {
  if (std::exchange(at.will_store, false))
    coming_.remove(at.number, at.keys);
}

// -- ends -------------------------------------------------------------------------------------------------------------

void prefill_core::on(uint64_t now_ns, const cancel& order) {
  auto known = false;
  for (auto at = attempts_.lower_bound({order.id.request, 0}); at != attempts_.end() && at->first <= order.id;) {
    auto& target = (at++)->second;
    known |= target.job.id == order.id;
    static constexpr const char* markers[] = {"prefill: cancel queued",   "prefill: cancel fetching",
                                              "prefill: cancel ready",    "prefill: cancel computing",
                                              "prefill: cancel computed", "prefill: cancel closing"};
    marker(markers[static_cast<size_t>(target.at)]);
    target.cancel_asked_by = order.from;
    tokens_.drop(target.job.id);
    if (target.at != stage::closing)
      close(now_ns, target, ec::cancelled, false);
  }
  over_.bury(order.id);
  if (!known)
    out.to(order.from, cancelled{options_.self, order.id});
  advance(now_ns);
}

void prefill_core::close(uint64_t now_ns, attempt& ended, ec reason, bool tell_session) {
  assert(ended.at != stage::closing);
  auto id = ended.job.id;
  ended.at = stage::closing;
  stores_no_more(ended);
  ended.failure = reason;
  ended.tell_session = tell_session && !ended.is_stage();
  ended.pending.clear();
  std::erase(queue_, id);
  std::erase(unadmitted_, id);
  if (ended.fetching)
    local.push_back(cancel_store{ended.fetch_id()});
  if (ended.publishing)
    local.push_back(cancel_store{ended.publish_id()});
  for (auto work : ended.work)
    local.push_back(cancel_work{work});
  if (ended.layered && ended.layered->passage != 0 && ended.first_tokens.empty()
      && !ended.work.contains(ended.layered->passage))
    local.push_back(cancel_work{ended.layered->passage});
  for (auto move : ended.moves)
    local.push_back(cancel_move{move});
  if (ended.is_stage()) {
    ended.part->gathered = 0;
    if (!ended.part->released && !ended.part->orphaned)
      tell_progress(ended, now_ns);
  } else if (ended.part)
    dismiss(ended, now_ns);
  finish_if_quiet(now_ns, id);
}

/// Releases an attempt that is over, once nothing touches its slots any more.
void prefill_core::finish_if_quiet(uint64_t now_ns, const ticket& id) {
  auto& ended = attempts_.at(id);
  if (ended.is_stage())
    return leave_if_quiet(now_ns, ended);
  auto over = ended.at == stage::closing
              || (ended.at == stage::computed && (ended.finished_here || ended.decode_side == grant::joined));
  if (!over || ended.fetching || ended.publishing || !ended.moves.empty() || !ended.work.empty())
    return;
  if (ended.part) {
    if (!ended.part->all(group_part::member::stage::left) || ended.part->fences > 0
        || (ended.part->gathering && ended.at != stage::closing))
      return;
    for (const auto& other : ended.part->members)
      ended.clean &= other.clean;
    close_inbound(ended);
  }
  for (auto slot : ended.slots)
    if (slot < options_.slots)
      pool_.drop_ref(slot);
  for (auto slot : ended.ring_slots)
    pool_.drop_ref(slot);
  if (ended.borrowed)
    local.push_back(give_back{ended.fetch_id()});
  if (ended.decode_knows && ended.decode_side != grant::joined)
    out.to(ended.job.decode, farewells_.part(id, ended.job.decode, ended.clean, now_ns));
  if (ended.tell_session) {
    out.to(ended.job.from, job_failed{options_.self, id, ended.failure});
    for (const auto& choice : ended.job.gen.choices) {
      if (!tokens_.has(id, choice.choice))
        tokens_.open(id, choice.choice, ended.job.from, choice.generated, ended.reused);
      tokens_.finish(id, choice.choice, finish_reason::failed);
    }
  }
  if (ended.cancel_asked_by)
    out.to(*ended.cancel_asked_by, cancelled{options_.self, id});
  reporter_.ended({id, ended.job.tokens.size(), ended.job.placement});
  over_.bury(id);
  by_number_.erase(ended.number);
  attempts_.erase(id);
}

void prefill_core::on(uint64_t, const peer_up& news) {
  if (news.who.kind == role::shard && options_.local_shard == news.who.index)
    local_shard_ = news.who;
  if (news.who.kind == role::prefill)
    prefills_.insert(news.who);
}

void prefill_core::on(uint64_t now_ns, const peer_down& news) {
  reporter_.lost(news.who);
  if (local_shard_ == news.who)
    local_shard_.reset();
  if (news.who.kind == role::session)
    tokens_.drop_session(news.who);
  farewells_.lost(news.who);
  prefills_.erase(news.who);
  std::erase_if(dismissed_, [&](const auto& item) { return item.first.second == news.who; });
  std::erase_if(left_, [&](const auto& item) { return item.second.head == news.who; });
  auto affected = std::vector<ticket>{};
  for (auto& [id, at] : attempts_) {
    if (at.job.decode == news.who && at.decode_side != grant::joined) {
      at.decode_knows = false; // Its memory is gone with it.
      if (!at.finished_here)
        affected.push_back(id);
    }
    if (at.job.from == news.who)
      affected.push_back(id);
    else if (at.part && (at.part->before == news.who || at.part->find(news.who)))
      affected.push_back(id);
  }
  for (const auto& id : affected) {
    auto* at = find(id);
    if (at && at->part)
      peer_lost(now_ns, *at, news.who);
    at = find(id);
    if (at && at->at != stage::closing && (at->job.from == news.who || at->job.decode == news.who))
      close(now_ns, *at, ec::peer_lost, news.who.kind != role::session);
  }
  advance(now_ns);
}

// -- time and reports -------------------------------------------------------------------------------------------------

void prefill_core::on(uint64_t now_ns, const token_acks& acks) {
  for (const auto& ack : acks.acks)
    tokens_.on(ack, now_ns); // A choice the session wants no more of is cancelled through the Conductor.
}

void prefill_core::on(uint64_t now_ns, const conductor_hello& hello) {
  if (reporter_.on(hello))
    send_report(now_ns);
}

void prefill_core::on(uint64_t, const report_ack& ack) {
  reporter_.on(ack);
}

void prefill_core::send_tokens(uint64_t now_ns, uint64_t retry_ns) {
  for (auto& [session, batch] : tokens_.collect(options_.self, now_ns, retry_ns))
    out.to(session, std::move(batch));
}

void prefill_core::send_report(uint64_t now_ns) {
  if (!reporter_.conductor())
    return;
  auto news = reporter_.next(now_ns);
  news.slots_total = pool_.capacity();
  news.slots_free = pool_.count(slot_state::free);
  news.twin = options_.twin;
  news.spare = options_.spare;
  news.stages_max = stages_max_;
  news.token_capacity = uint64_t{options_.slots} * options_.layout.block_tokens;
  for (const auto& [id, at] : attempts_) {
    auto left = at.at == stage::computed || at.at == stage::closing ? 0 : at.job.tokens.size() - at.submitted;
    news.queued_tokens += left;
    ++(at.at == stage::queued || at.at == stage::fetching || at.at == stage::ready ? news.waiting : news.running);
    if (!news.full || at.is_stage())
      continue; // The head of a stage has the placement.
    news.active.push_back({id, left, at.job.placement});
    if (at.part)
      news.groups.push_back({id, at.job.group.others});
  }
  out.to(*reporter_.conductor(), std::move(news));
}

bool prefill_core::device_lost(uint64_t now_ns) const {
  return device_broken_ || std::any_of(by_work_.begin(), by_work_.end(), [&](const auto& item) {
           return item.second.since_ns + to_ns(options_.times.device) <= now_ns;
         });
}

void prefill_core::tick(uint64_t now_ns) {
  auto open = std::vector<ticket>{};
  for (const auto& [id, at] : attempts_)
    if (at.at != stage::closing)
      open.push_back(id);
  for (const auto& id : open) {
    auto& at = attempts_.at(id);
    auto waits_for_joined = at.announced && at.decode_side == grant::granted;
    if (at.deadline_ns <= now_ns) {
      marker("prefill: deadline");
      close(now_ns, at, ec::deadline, true);
      continue;
    }
    auto waits = at.decode_side == grant::asked || at.decode_side == grant::redirecting || waits_for_joined;
    if (!waits || at.finished_here || at.retry_ns > now_ns)
      continue;
    if (at.tries >= prefill_tries_max) {
      marker("prefill: decode silent");
      close(now_ns, at, ec::peer_lost, true);
    } else if (at.decode_side == grant::asked) {
      ask_decode(at, now_ns);
    } else if (at.decode_side == grant::redirecting) {
      ask_redirect(at, now_ns);
    } else {
      // Counted only once all bytes are out: until then the network may simply be slow.
      at.tries += at.moves.empty();
      announce(at, now_ns);
    }
  }
  tick_groups(now_ns);
  for (auto& [decode, message] : farewells_.due(now_ns))
    out.to(decode, message);
  send_tokens(now_ns, to_ns(options_.times.retry));
  advance(now_ns);
}

} // namespace perigee
