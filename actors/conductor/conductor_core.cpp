// SPDX-License-Identifier: Apache-2.0
#include "actors/conductor/conductor_core.hpp"

#include <algorithm>
#include <cassert>

namespace perigee {

conductor_core::conductor_core(conductor_options options, uint64_t now_ns)
  : options_(std::move(options)), started_ns_(now_ns), estimate_(options_.profile) {
  assert(options_.block_tokens > 0);
}

bool conductor_core::over_bounds(const submit& request) const {
  return ask_.size() + held_.size() >= options_.waiting_requests_max
         || waiting_tokens_ + request.prompt_tokens > options_.waiting_tokens_max;
}

void conductor_core::on(uint64_t now_ns, const submit& request) {
  if (!sessions_.contains(request.from) || request.prompt_tokens == 0)
    return;
  auto known = requests_.find(request.id.request);
  if (known != requests_.end()) {
    auto& old = known->second;
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
    erase_request(known);
  }
  if (request.id.attempt > 0)
    undo_attempts(now_ns, request.id.request, request.id.attempt - 1, 0);
  auto& fresh = requests_[request.id.request];
  fresh.request = request;
  fresh.arrived_ns = now_ns;
  fresh.deadline_ns = now_ns + request.deadline_ns;
  fresh.order = ++orders_;
  if (over_bounds(request)) {
    reject(now_ns, fresh, ec::overloaded, "the Conductor's waiting queue is full", 1'000'000'000);
    return;
  }
  out.to(request.from, accepted{options_.self, request.id});
  enqueue(fresh);
}

void conductor_core::enqueue(entry& waiting) {
  waiting.at = stage::waiting;
  waiting_tokens_ += waiting.request.prompt_tokens;
  ask_.push_back(waiting.request.id.request);
}

void conductor_core::leave_queue(entry& waiting) {
  if (waiting.at == stage::waiting || waiting.at == stage::held || waiting.at == stage::asked)
    waiting_tokens_ -= waiting.request.prompt_tokens;
  if (waiting.at == stage::waiting)
    ask_.erase(std::find(ask_.begin(), ask_.end(), waiting.request.id.request));
  if (waiting.at == stage::held)
    held_.erase({waiting.sort_key, waiting.order, waiting.request.id.request});
}

void conductor_core::erase_request(std::map<request_id, entry>::iterator at) {
  leave_queue(at->second);
  requests_.erase(at);
}

void conductor_core::reject(uint64_t now_ns, entry& waiting, ec reason, std::string detail, uint64_t retry_after_ns) {
  leave_queue(waiting);
  ++rejections_;
  waiting.at = stage::rejected;
  waiting.refusal = {options_.self, waiting.request.id, reason, std::move(detail), retry_after_ns};
  // Kept for a while, because the session may not have heard and ask again.
  waiting.deadline_ns = now_ns + 20 * to_ns(options_.times.retry);
  out.to(waiting.request.from, waiting.refusal);
}

void conductor_core::on(uint64_t, const placed_ack& ack) {
  auto at = requests_.find(ack.id.request);
  if (at != requests_.end() && at->second.request.id == ack.id && at->second.at == stage::placed
      && ack.revision == at->second.answer.revision)
    at->second.acked = true;
}

void conductor_core::tick(uint64_t now_ns) {
  auto retry = to_ns(options_.times.retry);
  for (auto& [who, due] : hello_retry_ns_) {
    if (due > now_ns)
      continue;
    due = now_ns + retry;
    out.to(who, conductor_hello{options_.self, options_.self.incarnation});
  }
  for (auto at = requests_.begin(); at != requests_.end();) {
    auto& entry = at->second;
    auto next = std::next(at);
    if (entry.at == stage::placed) {
      if (!entry.acked && entry.retry_ns <= now_ns) {
        entry.retry_ns = now_ns + retry;
        out.to(entry.request.from, entry.answer);
      }
    } else if (entry.deadline_ns <= now_ns) {
      if (entry.at == stage::rejected)
        erase_request(at);
      else
        reject(now_ns, entry, ec::deadline, "the deadline passed while the request waited for a place", 0);
    }
    at = next;
  }
  for (auto* entry : books_.all_placements()) {
    if (!entry->cancel_at_ns || *entry->cancel_at_ns > now_ns)
      continue;
    entry->cancel_at_ns = now_ns + retry;
    auto order = cancel{options_.self, options_.self.incarnation, entry->id};
    if (entry->prefill_open)
      out.to(entry->prefill, order);
    if (entry->decode_open)
      out.to(entry->decode, order);
  }
}

std::vector<instance_load> conductor_core::take_load_changes() {
  return books_.take_changes();
}

} // namespace perigee
