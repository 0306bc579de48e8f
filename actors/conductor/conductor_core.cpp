// SPDX-License-Identifier: Apache-2.0
#include "actors/conductor/conductor_core.hpp"

#include <cassert>
#include <utility>

namespace perigee {

namespace {

constexpr auto decisions_kept = size_t{4096};

} // namespace

conductor_core::conductor_core(conductor_options options, uint64_t now_ns)
  : options_(std::move(options)), started_ns_(now_ns), estimate_(options_.profile), decisions_(decisions_kept) {
  assert(options_.block_tokens > 0);
}

bool conductor_core::over_bounds(const submit& request) const {
  return asking_ + held_.size() >= options_.waiting_requests_max
         || waiting_tokens_ + request.prompt_tokens > options_.waiting_tokens_max;
}

void conductor_core::on(uint64_t now_ns, submit request) {
  if (!sessions_.contains(request.from) || request.prompt_tokens == 0)
    return;
  index_.prefetch(request.keys);
  if (auto* known = find_request(request.id.request)) {
    auto& old = *known;
    if (request.id.attempt < old.request.id.attempt)
      return;
    if (request.id.attempt == old.request.id.attempt) {
      if (old.at == stage::placed)
        out.to(request.from, old.answer);
      else if (old.at == stage::rejected)
        out.to(request.from, old.refusal);
      else
        out.to(request.from, accepted{options_.self, request.id});
      return;
    }
    erase_request(request.id.request);
  }
  if (const auto* placed_before = books_.placement_of(request.id); placed_before && placed_before->cancel_at_ns)
    return; // A late copy: its session has withdrawn it. A second placement of one ticket could never be closed.
  if (request.id.attempt > 0)
    undo_attempts(now_ns, request.id.request, request.id.attempt - 1, 0);
  auto& kept = requests_[request.id.request];
  kept = std::make_unique<entry>();
  auto& fresh = *kept;
  fresh.request = std::move(request);
  fresh.arrived_ns = now_ns;
  fresh.deadline_ns = now_ns + fresh.request.deadline_ns;
  fresh.order = ++orders_;
  if (over_bounds(fresh.request)) {
    reject(now_ns, fresh, ec::overloaded, "the Conductor's waiting queue is full", 1'000'000'000);
    return;
  }
  out.to(fresh.request.from, accepted{options_.self, fresh.request.id});
  enqueue(fresh);
}

void conductor_core::enqueue(entry& waiting) {
  waiting.at = stage::waiting;
  waiting_tokens_ += waiting.request.prompt_tokens;
  ++asking_;
  ask_.emplace_back(waiting.order, waiting.request.id.request);
  undated_.push_back(waiting.request.id.request);
}

/// The first that was never asked about, or null.
conductor_core::entry* conductor_core::first_asking() {
  for (; !ask_.empty(); ask_.pop_front()) {
    auto* at = find_request(ask_.front().second);
    if (at && at->at == stage::waiting && at->order == ask_.front().first)
      return at;
  }
  return nullptr;
}

/// Deadlines are looked after at ticks alone.
void conductor_core::date_waiting() {
  for (const auto& id : undated_) {
    auto* at = find_request(id);
    if (!at || at->dated || (at->at != stage::waiting && at->at != stage::held && at->at != stage::asked))
      continue;
    at->dated = true;
    deadlines_.insert({at->deadline_ns, id});
  }
  undated_.clear();
}

void conductor_core::leave_queue(entry& waiting) {
  if (waiting.at != stage::waiting && waiting.at != stage::held && waiting.at != stage::asked)
    return;
  const auto& id = waiting.request.id.request;
  waiting_tokens_ -= waiting.request.prompt_tokens;
  if (std::exchange(waiting.dated, false))
    deadlines_.erase({waiting.deadline_ns, id});
  asking_ -= waiting.at == stage::waiting;
  if (waiting.at == stage::held)
    leave_held(waiting);
}

void conductor_core::leave_held(entry& waiting) {
  const auto& id = waiting.request.id.request;
  held_.erase({waiting.sort_key, waiting.order, id});
  held_due_.erase({waiting.ask_again_ns, waiting.order, id});
  held_ns_ -= waiting.ideal_ns;
}

conductor_core::entry* conductor_core::find_request(const request_id& id) const {
  auto at = requests_.find(id);
  return at == requests_.end() ? nullptr : at->second.get();
}

void conductor_core::erase_request(const request_id& id) {
  auto at = requests_.find(id);
  leave_queue(*at->second);
  requests_.erase(at);
}

void conductor_core::reject(uint64_t now_ns, entry& waiting, ec reason, std::string detail, uint64_t retry_after_ns) {
  leave_queue(waiting);
  ++rejections_;
  waiting.at = stage::rejected;
  waiting.refusal = {options_.self, waiting.request.id, reason, std::move(detail), retry_after_ns};
  // Kept for a while, because the session may not have heard and ask again.
  forget_.emplace_back(now_ns + 20 * to_ns(options_.times.retry), waiting.request.id.request);
  waiting.retry_ns = forget_.back().first;
  out.to(waiting.request.from, waiting.refusal);
}

/// Says where the request runs, now and until it is acknowledged.
void conductor_core::answer_placed(uint64_t now_ns, entry& waiting) {
  waiting.acked = false;
  waiting.retry_ns = now_ns + to_ns(options_.times.retry);
  resend_.emplace_back(waiting.retry_ns, waiting.request.id.request);
  out.to(waiting.request.from, waiting.answer);
}

void conductor_core::on(uint64_t, const placed_ack& ack) {
  auto* at = find_request(ack.id.request);
  if (at && at->request.id == ack.id && at->at == stage::placed && ack.revision == at->answer.revision)
    at->acked = true;
}

void conductor_core::resend_placed(uint64_t now_ns) {
  while (!resend_.empty() && resend_.front().first <= now_ns) {
    auto [due, id] = resend_.front();
    resend_.pop_front();
    auto* at = find_request(id);
    if (at && at->at == stage::placed && !at->acked && at->retry_ns == due)
      answer_placed(now_ns, *at);
  }
}

void conductor_core::drop_overdue(uint64_t now_ns) {
  while (!forget_.empty() && forget_.front().first <= now_ns) {
    auto [due, id] = forget_.front();
    forget_.pop_front();
    auto* at = find_request(id);
    if (at && at->at == stage::rejected && at->retry_ns == due)
      requests_.erase(id);
  }
  date_waiting();
  while (!deadlines_.empty() && deadlines_.begin()->first <= now_ns)
    reject(now_ns, *requests_.at(deadlines_.begin()->second), ec::deadline,
           "the deadline passed while the request waited for a place", 0);
}

/// Looks only at what is due, so that its cost does not grow with what is in flight.
void conductor_core::tick(uint64_t now_ns) {
  auto retry = to_ns(options_.times.retry);
  for (auto& [who, due] : hello_retry_ns_) {
    if (due > now_ns)
      continue;
    due = now_ns + retry;
    out.to(who, conductor_hello{options_.self, options_.self.incarnation});
  }
  resend_placed(now_ns);
  drop_overdue(now_ns);
  for (auto* entry : books_.due_cancels(now_ns, retry)) {
    auto order = cancel{options_.self, options_.self.incarnation, entry->id};
    if (entry->prefill_open)
      out.to(entry->prefill, order);
    if (entry->decode_open && !(entry->prefill_open && entry->decode == entry->prefill))
      out.to(entry->decode, order);
  }
}

/// What policies are to know of it: nothing before it has reported; of a coupled instance both sides.
void conductor_core::append_loads(const books::member& at, std::vector<instance_load>& loads) const {
  if (!at.ready || (at.who.kind != role::prefill && at.who.kind != role::decode))
    return;
  if (at.who.kind == role::decode)
    loads.push_back(books_.load_of(at));
  if (at.who.kind != prompt_role())
    return;
  auto& load = loads.emplace_back(books_.load_of(at));
  load.who.kind = role::prefill;
  if (auto shard = where_.shard_of(at.who.index)) {
    load.cached_blocks = index_.blocks_of(*shard);
    if (const auto* owner = books_.find(role::shard, *shard))
      load.cache_capacity = owner->last.slots_total;
  }
}

std::vector<instance_load> conductor_core::take_load_changes() {
  look_at_members();
  auto loads = std::vector<instance_load>{};
  loads.reserve(books_.changes().size());
  books_.take_changes([&](const books::member& at) {
    rooms_.update(at);
    append_loads(at, loads);
  });
  return loads;
}

} // namespace perigee
