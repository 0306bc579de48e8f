// SPDX-License-Identifier: Apache-2.0
#include "actors/conductor/books.hpp"

#include <algorithm>
#include <cassert>

namespace perigee {

void books::member_up(const address& who) {
  auto& entry = members_[{who.kind, who.index}];
  assert(entry.open.empty());
  entry = member{};
  entry.who = who;
}

void books::member_down(const address& who, uint64_t now_ns) {
  auto* gone = find(who);
  if (!gone)
    return;
  for (auto number : std::set<uint64_t>{gone->open}) {
    auto& entry = placements_.at(number);
    if (entry.prefill == who && entry.prefill_open)
      close_prefill(entry, now_ns);
    if (entry.decode == who && entry.decode_open)
      close_decode(entry);
    drop_if_closed(number);
  }
  members_.erase({who.kind, who.index});
  changed_.erase({who.kind, who.index});
}

books::member* books::find(role kind, uint32_t index) {
  auto at = members_.find({kind, index});
  return at == members_.end() ? nullptr : &at->second;
}

const books::member* books::find(role kind, uint32_t index) const {
  auto at = members_.find({kind, index});
  return at == members_.end() ? nullptr : &at->second;
}

books::member* books::find(const address& who) {
  auto* at = find(who.kind, who.index);
  return at && at->who == who ? at : nullptr;
}

placement& books::open(placement entry, uint64_t now_ns) {
  auto number = entry.number;
  assert(!placements_.contains(number));
  by_ticket_[entry.id] = number;
  auto& kept = placements_[number] = std::move(entry);
  if (auto* at = kept.prefill_open ? find(kept.prefill) : nullptr) {
    at->open.insert(number);
    at->free_at_ns = std::max(at->free_at_ns, now_ns) + kept.prefill_ns;
    for (const auto& key : kept.keys)
      pending_.store(key, kept.prefill.index);
    changed_.insert({role::prefill, kept.prefill.index});
  } else {
    kept.prefill_open = false;
  }
  if (auto* at = kept.decode_open ? find(kept.decode) : nullptr) {
    at->open.insert(number);
    at->tokens += kept.decode_tokens;
    changed_.insert({role::decode, kept.decode.index});
  } else {
    kept.decode_open = false;
  }
  return kept;
}

placement* books::placement_of(const ticket& id) {
  auto at = by_ticket_.find(id);
  return at == by_ticket_.end() ? nullptr : &placements_.at(at->second);
}

std::vector<placement*> books::placements_of(const request_id& request) {
  auto found = std::vector<placement*>{};
  for (auto at = by_ticket_.lower_bound({request, 0}); at != by_ticket_.end() && at->first.request == request; ++at)
    found.push_back(&placements_.at(at->second));
  return found;
}

std::vector<placement*> books::all_placements() {
  auto found = std::vector<placement*>{};
  found.reserve(placements_.size());
  for (auto& [number, entry] : placements_)
    found.push_back(&entry);
  return found;
}

void books::release_prefill(placement& entry, uint64_t now_ns) {
  for (const auto& key : entry.keys)
    pending_.evict(key, entry.prefill.index);
  auto* at = find(entry.prefill);
  if (!at)
    return;
  at->open.erase(entry.number);
  // What is left starts now: the instance works on one prefill at a time.
  auto rest = uint64_t{0};
  for (auto number : at->open)
    rest += placements_.at(number).prefill_ns;
  at->free_at_ns = now_ns + rest;
  changed_.insert({role::prefill, entry.prefill.index});
}

void books::release_decode(placement& entry) {
  auto* at = find(entry.decode);
  if (!at)
    return;
  at->open.erase(entry.number);
  assert(at->tokens >= entry.decode_tokens);
  at->tokens -= entry.decode_tokens;
  changed_.insert({role::decode, entry.decode.index});
}

void books::close_prefill(placement& entry, uint64_t now_ns) {
  assert(entry.prefill_open);
  entry.prefill_open = false;
  release_prefill(entry, now_ns);
}

void books::close_decode(placement& entry) {
  assert(entry.decode_open);
  entry.decode_open = false;
  release_decode(entry);
}

void books::move_decode(placement& entry, const address& decode) {
  if (entry.decode_open)
    close_decode(entry);
  entry.decode = decode;
  ++entry.revision;
  auto* at = find(decode);
  assert(at);
  entry.decode_open = true;
  at->open.insert(entry.number);
  at->tokens += entry.decode_tokens;
  changed_.insert({role::decode, decode.index});
}

bool books::drop_if_closed(uint64_t number) {
  auto at = placements_.find(number);
  if (at == placements_.end() || at->second.prefill_open || at->second.decode_open)
    return false;
  auto ticket_at = by_ticket_.find(at->second.id);
  if (ticket_at != by_ticket_.end() && ticket_at->second == number)
    by_ticket_.erase(ticket_at);
  placements_.erase(at);
  return true;
}

instance_load books::load_of(const member& at) const {
  auto load = instance_load{};
  load.who = at.who;
  load.free_at_ns = at.free_at_ns;
  load.requests = static_cast<uint32_t>(at.open.size());
  load.tokens = at.tokens;
  load.tokens_capacity = at.last.token_capacity;
  return load;
}

std::vector<instance_load> books::take_changes() {
  auto loads = std::vector<instance_load>{};
  for (const auto& place : changed_)
    if (auto at = members_.find(place); at != members_.end())
      loads.push_back(load_of(at->second));
  changed_.clear();
  return loads;
}

} // namespace perigee
