// SPDX-License-Identifier: Apache-2.0
#include "actors/conductor/books.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

namespace perigee {

// -- members ----------------------------------------------------------------------------------------------------------

void books::list_instances() {
  prefills_.clear();
  decodes_.clear();
  for (auto& places : by_place_)
    places.clear();
  for (auto& [place, at] : members_) {
    auto& places = by_place_[static_cast<size_t>(place.first)];
    places.resize(place.second + size_t{1});
    places.back() = &at; // In the order of their indices.
    if (place.first == role::prefill)
      prefills_.push_back(&at);
    if (place.first == role::decode)
      decodes_.push_back(&at);
  }
}

void books::member_up(const address& who) {
  auto [at, is_new] = members_.try_emplace({who.kind, who.index});
  auto& entry = at->second;
  assert(entry.open == 0);
  auto changed = entry.changed;
  entry = member{};
  entry.who = who;
  entry.changed = changed;
  if (is_new)
    list_instances();
}

void books::member_down(const address& who, uint64_t now_ns) {
  auto* gone = find(who);
  if (!gone)
    return;
  for (auto next = placements_.begin(); next != placements_.end();) {
    auto& entry = (next++)->second;
    if (entry.prefill == who && entry.prefill_open)
      close_prefill(entry, now_ns);
    if (entry.decode == who && entry.decode_open)
      close_decode(entry);
    std::erase(entry.stages, who);
    drop_if_closed(entry);
  }
  std::erase(changed_, gone);
  members_.erase({who.kind, who.index});
  list_instances();
}

books::member* books::find(role kind, uint32_t index) {
  auto& places = by_place_[static_cast<size_t>(kind)];
  return index < places.size() ? places[index] : nullptr;
}

const books::member* books::find(role kind, uint32_t index) const {
  const auto& places = by_place_[static_cast<size_t>(kind)];
  return index < places.size() ? places[index] : nullptr;
}

books::member* books::find(const address& who) {
  auto* at = find(who.kind, who.index);
  return at && at->who == who ? at : nullptr;
}

const books::member* books::find(const address& who) const {
  const auto* at = find(who.kind, who.index);
  return at && at->who == who ? at : nullptr;
}

// -- placements -------------------------------------------------------------------------------------------------------

placement& books::open(placement entry, uint64_t now_ns) {
  auto number = entry.number;
  assert(!placements_.contains(number));
  auto& kept = placements_.emplace_hint(placements_.end(), number, std::move(entry))->second;
  by_request_[kept.id.request].push_back(&kept);
  if (kept.cancel_at_ns)
    cancels_.insert({*kept.cancel_at_ns, number});
  if (kept.prefill_open && find(kept.prefill)) {
    auto all = computing(kept);
    auto free_ns = boost::container::small_vector<uint64_t, 8>{};
    for (auto i = size_t{1}; i <= all.size(); ++i)
      free_ns.push_back(all[i % all.size()]->free_at_ns); // Its own instance runs the last layers.
    auto begins_ns = kept.times.begin_ns(free_ns, now_ns);
    auto is_first = std::all_of(all.begin(), all.end(), [](const member* at) { return at->queued == 0; });
    kept.soonest_ns = kept.computed || kept.adopted ? 0 : now_ns + kept.times.takes_ns;
    kept.was_first = is_first;
    for (auto i = size_t{0}; i < all.size(); ++i) {
      auto* at = all[i];
      ++at->open;
      at->tokens += kept.is_local() ? 0 : kept.prompt_tokens; // What is reserved for decoding holds the prompt.
      if (!kept.computed) {
        ++at->queued;
        at->queued_ns += kept.times.takes_ns;
        at->queued_tokens += kept.uncached_tokens;
        at->free_at_ns = begins_ns + kept.times.takes_ns - ahead_ns(kept, all, i);
        at->last_end_ns = now_ns + kept.times.takes_ns - ahead_ns(kept, all, i);
        if (all.size() > 1)
          at->heard_ns = std::max(at->heard_ns, at->free_at_ns); // Nobody says when its part is done.
      }
      mark_changed(*at);
    }
    blocks_.expect(kept.keys, kept.prefill.index);
  } else {
    kept.prefill_open = false;
    kept.stages.clear();
  }
  if (auto* at = kept.decode_open ? find(kept.decode) : nullptr)
    add_decode(kept, *at);
  else
    kept.decode_open = false;
  return kept;
}

void books::add_decode(placement& entry, member& at) {
  entry.counts_at_decode = !(entry.is_local() && entry.prefill_open);
  at.open += entry.counts_at_decode;
  at.tokens += entry.decode_tokens;
  at.rows += entry.choices;
  if (entry.computed || !entry.prefill_open) {
    at.running += entry.choices;
    at.running_tokens += entry.decode_tokens;
  }
  mark_changed(at);
}

/// The newest of that ticket.
placement* books::placement_of(const ticket& id) {
  auto at = by_request_.find(id.request);
  if (at == by_request_.end())
    return nullptr;
  auto found = std::find_if(at->second.rbegin(), at->second.rend(), [&](const auto* entry) { return entry->id == id; });
  return found == at->second.rend() ? nullptr : *found;
}

books::attempts books::placements_of(const request_id& request) {
  auto found = attempts{};
  if (auto at = by_request_.find(request); at != by_request_.end())
    found.assign(at->second.begin(), at->second.end());
  std::sort(found.begin(), found.end(), [](const auto* a, const auto* b) { return a->id < b->id; });
  return found;
}

std::vector<placement*> books::placements_of(const address& session) {
  auto found = std::vector<placement*>{};
  for (auto& [number, entry] : placements_)
    if (entry.session == session)
      found.push_back(&entry);
  return found;
}

/// Those of the instances that compute its prompt that live: its own and the stages.
books::workers books::computing(const placement& entry) {
  auto found = workers{};
  if (auto* at = find(entry.prefill))
    found.push_back(at);
  for (const auto& who : entry.stages)
    if (auto* at = find(who))
      found.push_back(at);
  return found;
}

/// By how much the i-th of those that compute it is done before the last stage.
uint64_t books::ahead_ns(const placement& entry, const workers& all, size_t i) {
  return i == 0 ? 0 : (all.size() - i) * entry.times.last_step_ns;
}

books::workers books::leave_queue(const placement& entry) {
  auto all = computing(entry);
  for (auto* at : all) {
    assert(at->queued > 0);
    --at->queued;
    at->queued_ns -= entry.times.takes_ns;
    at->queued_tokens -= entry.uncached_tokens;
    mark_changed(*at);
  }
  return all;
}

/// Its prompt is computed: it is one of those that decode now, or will as soon as its KV is there.
void books::pass_prefill(placement& entry) {
  entry.computed = true;
  auto* at = entry.decode_open ? find(entry.decode) : nullptr;
  if (!at)
    return;
  at->running += entry.choices;
  at->running_tokens += entry.decode_tokens;
  mark_changed(entry.decode);
}

/// The median by stochastic approximation: as many small steps up as down. It tells only of a prompt that waited for no
/// other: of a first one, or where the news before it came so much earlier that the instance did nothing in between.
void books::learn_age(const placement& entry, const workers& all, uint64_t now_ns) {
  constexpr auto step_ns = uint64_t{2'000'000};
  auto takes_ns = entry.times.takes_ns;
  auto has_waited = !entry.was_first && (all.size() != 1 || now_ns <= all[0]->heard_ns + takes_ns + takes_ns / 2);
  if (entry.soonest_ns == 0 || has_waited)
    return;
  if (now_ns > entry.soonest_ns + news_age_ns_ + step_ns)
    news_age_ns_ += step_ns;
  else if (now_ns < entry.soonest_ns + news_age_ns_)
    news_age_ns_ -= std::min(news_age_ns_, step_ns);
}

void books::computed(placement& entry, uint64_t now_ns) {
  if (entry.computed || !entry.prefill_open)
    return;
  // What is left started when this ended, as the instance works on one prompt at a time, or when it was given.
  auto all = leave_queue(entry);
  for (auto i = size_t{0}; i < all.size(); ++i) {
    auto past_ns = news_age_ns_ + ahead_ns(entry, all, i);
    all[i]->free_at_ns = now_ns - std::min(now_ns, past_ns) + all[i]->queued_ns;
    if (all[i]->queued > 0)
      all[i]->free_at_ns = std::max(all[i]->free_at_ns, std::min(all[i]->last_end_ns, now_ns + all[i]->queued_ns));
  }
  learn_age(entry, all, now_ns);
  for (auto* at : all)
    at->heard_ns = now_ns;
  pass_prefill(entry);
}

void books::finished(placement& entry, uint64_t now_ns) {
  if (entry.computed || !entry.prefill_open)
    return;
  // Nobody says when that was, so the prediction stands: the time that it took has passed. But what is left takes no longer
  // than all of it from now.
  for (auto* at : leave_queue(entry))
    at->free_at_ns = std::min(at->free_at_ns, now_ns + at->queued_ns);
  pass_prefill(entry);
}

void books::release_prefill(placement& entry, uint64_t now_ns) {
  blocks_.forget(entry.keys, entry.prefill.index);
  if (!entry.computed)
    for (auto* at : leave_queue(entry)) {
      at->free_at_ns -= std::min(at->free_at_ns, entry.times.takes_ns);
      // It cannot take less than nothing, nor more than all of what is left from its start.
      at->free_at_ns = std::clamp(at->free_at_ns, now_ns, now_ns + at->queued_ns);
    }
  for (auto* at : computing(entry)) {
    --at->open;
    at->tokens -= entry.is_local() ? 0 : entry.prompt_tokens;
    mark_changed(*at);
  }
  entry.stages.clear();
}

void books::release_decode(placement& entry) {
  auto* at = find(entry.decode);
  if (!at)
    return;
  at->open -= std::exchange(entry.counts_at_decode, false);
  assert(at->tokens >= entry.decode_tokens);
  at->tokens -= entry.decode_tokens;
  at->rows -= entry.choices;
  if (entry.computed || !entry.prefill_open) {
    at->running -= entry.choices;
    at->running_tokens -= entry.decode_tokens;
  }
  mark_changed(entry.decode);
}

void books::close_prefill(placement& entry, uint64_t now_ns) {
  assert(entry.prefill_open);
  release_prefill(entry, now_ns);
  auto was_computed = entry.computed;
  entry.prefill_open = false;
  auto* at = entry.decode_open && !was_computed ? find(entry.decode) : nullptr;
  if (!at)
    return;
  at->running += entry.choices;
  at->running_tokens += entry.decode_tokens;
  mark_changed(entry.decode);
}

void books::close_decode(placement& entry) {
  assert(entry.decode_open);
  release_decode(entry);
  entry.decode_open = false;
}

void books::move_decode(placement& entry, const address& decode) {
  if (entry.decode_open)
    close_decode(entry);
  entry.decode = decode;
  ++entry.revision;
  auto* at = find(decode);
  assert(at);
  entry.decode_open = true;
  add_decode(entry, *at);
}

void books::drop_if_closed(const placement& entry) {
  if (entry.prefill_open || entry.decode_open)
    return;
  auto attempts_at = by_request_.find(entry.id.request);
  attempts_at->second.erase(std::find(attempts_at->second.begin(), attempts_at->second.end(), &entry));
  if (attempts_at->second.empty())
    by_request_.erase(attempts_at);
  if (entry.cancel_at_ns)
    cancels_.erase({*entry.cancel_at_ns, entry.number});
  placements_.erase(placements_.find(entry.number));
}

// -- time and loads ---------------------------------------------------------------------------------------------------

void books::cancel_at(placement& entry, uint64_t at_ns) {
  if (entry.cancel_at_ns && *entry.cancel_at_ns <= at_ns)
    return;
  if (entry.cancel_at_ns)
    cancels_.erase({*entry.cancel_at_ns, entry.number});
  entry.cancel_at_ns = at_ns;
  cancels_.insert({at_ns, entry.number});
}

std::vector<placement*> books::due_cancels(uint64_t now_ns, uint64_t again_ns) {
  auto due = std::vector<placement*>{};
  while (!cancels_.empty() && cancels_.begin()->first <= now_ns) {
    auto number = cancels_.begin()->second;
    cancels_.erase(cancels_.begin());
    auto& entry = placements_.at(number);
    entry.cancel_at_ns = now_ns + again_ns;
    due.push_back(&entry);
  }
  for (auto* entry : due)
    cancels_.insert({*entry->cancel_at_ns, entry->number});
  return due;
}

instance_load books::load_of(const member& at) const {
  auto load = instance_load{};
  load.who = at.who;
  load.free_at_ns = at.free_at_ns;
  load.requests = at.open;
  load.tokens = at.tokens;
  load.tokens_capacity = at.last.token_capacity;
  load.twin = at.last.twin;
  load.spare = at.last.spare;
  load.queued = at.queued;
  load.queued_tokens = at.queued_tokens;
  return load;
}

} // namespace perigee
