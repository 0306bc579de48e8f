// SPDX-License-Identifier: Apache-2.0
#include "actors/cache/shard_core.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

namespace perigee {

shard_core::shard_core(address self, transport::remote_region region, uint32_t slots, uint64_t retry_ns,
                       uint64_t report_ns, shard_limits limits)
  : self_(self), region_(region), report_ns_(report_ns), limits_(limits), index_(slots, limits.rule, limits.copies_cool),
    feed_(self, retry_ns, limits.feed), inbound_(std::min<size_t>(slots, immediate_indices)) {
  for (uint32_t i = 0; i < inbound_.size(); ++i)
    inbound_free_.push_back(i);
}

void shard_core::set_lane(uint32_t lane) {
  lane_ = lane;
}

// -- clients --

void shard_core::peer_up(const address& who) {
  if (who.kind == role::store_client)
    alive_.insert(who);
}

void shard_core::peer_down(const address& who) {
  alive_.erase(who);
  auto first = loans_.lower_bound({who, 0});
  auto last = first;
  for (; last != loans_.end() && last->first.first == who; ++last)
    take_back(last->second);
  loans_.erase(first, last);
  auto at = clients_.find(who);
  if (at == clients_.end())
    return;
  auto slots = std::vector<uint32_t>{};
  for (auto& [number, it] : at->second.ops) {
    auto ended = end(it);
    slots.insert(slots.end(), ended.begin(), ended.end());
  }
  clients_.erase(at);
  abandon(who, std::move(slots));
}

/// The client, if the request is of a living one and about an operation that is not over.
template <class Request>
shard_core::client* shard_core::admit(const Request& ask) {
  if (!alive_.contains(ask.from)) {
    ++counters_.stale;
    return nullptr;
  }
  auto& it = clients_[ask.from];
  forget_below(ask.from, it, ask.open_from);
  if (ask.op < it.open_from) {
    ++counters_.stale;
    return nullptr;
  }
  return &it;
}

void shard_core::forget_below(const address& who, client& it, uint64_t open_from) {
  if (open_from <= it.open_from)
    return;
  it.open_from = open_from;
  auto end_of_old = it.ops.lower_bound(open_from);
  auto slots = std::vector<uint32_t>{};
  for (auto at = it.ops.begin(); at != end_of_old; ++at) {
    auto ended = end(at->second);
    slots.insert(slots.end(), ended.begin(), ended.end());
  }
  it.ops.erase(it.ops.begin(), end_of_old);
  abandon(who, std::move(slots));
}

// -- operations --

void shard_core::on_lease(const lease& ask) {
  auto* from = admit(ask);
  if (!from)
    return;
  auto at = from->ops.find(ask.op);
  if (at == from->ops.end()) {
    if (from->ops.size() >= limits_.ops_max) {
      output_.push_back({ask.from, leased{self_, ask.op, region_, {}}});
      return;
    }
    at = from->ops.emplace(ask.op, operation{}).first;
    auto& it = at->second;
    it.state = op_state::leasing;
    for (const auto& key : ask.keys) {
      auto slot = index_.find(key);
      if (!slot)
        break;
      index_.pin(*slot);
      index_.count_read(*slot);
      if (ask.from.node != self_.node)
        index_.count_copy(*slot);
      it.pinned.push_back(*slot);
    }
    it.slots = it.pinned;
    leases_ += static_cast<uint32_t>(it.pinned.size());
    counters_.leased_blocks += it.pinned.size();
    counters_.missed_blocks += ask.keys.size() - it.pinned.size();
  }
  if (at->second.state == op_state::leasing)
    output_.push_back({ask.from, leased{self_, ask.op, region_, at->second.slots}});
  else
    ++counters_.stale;
}

void shard_core::on_release(const release& ask) {
  if (!alive_.contains(ask.from)) {
    ++counters_.stale;
    return;
  }
  if (auto* from = admit(ask)) {
    // A request of the operation that is still on its way must find it ended.
    if (from->ops.size() < limits_.ops_max || from->ops.contains(ask.op)) {
      auto slots = end(from->ops[ask.op]);
      if (ask.fence)
        abandon(ask.from, std::move(slots));
      else
        for (auto slot : slots)
          index_.give_back(slot);
    }
  }
  output_.push_back({ask.from, released{self_, ask.op}});
}

void shard_core::on_allocate(const allocate& ask) {
  auto* from = admit(ask);
  if (!from)
    return;
  auto at = from->ops.find(ask.op);
  if (at == from->ops.end()) {
    if (from->ops.size() >= limits_.ops_max) {
      auto none = std::vector<uint32_t>(ask.keys.size(), no_slot);
      output_.push_back({ask.from, allocated{self_, ask.op, region_, std::move(none), 0}});
      return;
    }
    at = from->ops.emplace(ask.op, operation{}).first;
    at->second.state = op_state::writing;
    at->second.slots.assign(ask.keys.size(), no_slot);
    if (open_inbound(ask.from, ask.op, at->second))
      fill_allocation(at->second, ask.keys);
    if (at->second.written.empty())
      close_inbound(at->second);
  }
  const auto& it = at->second;
  if (it.state == op_state::writing)
    output_.push_back({ask.from, allocated{self_, ask.op, region_, it.slots, it.immediate}});
  else
    ++counters_.stale;
}

void shard_core::fill_allocation(operation& it, const std::vector<block_key>& keys) {
  // What is here already stays here until the new blocks are: they are of no use without it.
  auto here = std::vector<bool>(keys.size(), false);
  for (size_t i = 0; i < keys.size(); ++i)
    if (auto slot = index_.find(keys[i])) {
      index_.pin(*slot);
      it.pinned.push_back(*slot);
      here[i] = true;
    }
  for (size_t i = 0; i < keys.size(); ++i) {
    if (here[i] || writing_.contains(keys[i]))
      continue;
    auto slot = index_.take();
    if (!slot)
      break; // nor could a later block be of use
    it.slots[i] = *slot;
    it.written.push_back({keys[i], *slot, i == 0 ? std::nullopt : std::optional{keys[i - 1]}});
    writing_.insert(keys[i]);
  }
  note_changes();
}

void shard_core::on_commit(const commit& ask) {
  auto* from = admit(ask);
  if (!from)
    return;
  auto at = from->ops.find(ask.op);
  if (at == from->ops.end() || (at->second.state != op_state::writing && at->second.state != op_state::stored)) {
    ++counters_.stale;
    return;
  }
  auto& it = at->second;
  if (it.state == op_state::stored) {
    output_.push_back({ask.from, committed{self_, ask.op}});
    return;
  }
  it.announced = ask.pieces;
  store_if_complete(ask.from, ask.op, it);
}

void shard_core::on_arrived(const arrived& news) {
  auto index = index_of(news.immediate);
  if (index < inbound_.size() && inbound_[index].open) {
    const auto& to = inbound_[index];
    if (make_immediate(lane_, index, to.generation) == news.immediate) {
      auto& it = clients_.at(to.client).ops.at(to.op);
      ++it.arrived;
      return store_if_complete(to.client, to.op, it);
    }
  }
  ++counters_.stray_arrivals;
}

void shard_core::store_if_complete(const address& who, uint64_t op, operation& it) {
  if (!it.announced || it.arrived < *it.announced)
    return;
  auto fresh = std::exchange(it.written, {});
  auto held = std::exchange(it.pinned, {});
  for (const auto& block : fresh) {
    index_.store(block.key, block.slot, block.before);
    writing_.erase(block.key);
  }
  counters_.stored += fresh.size();
  // Last block first, so that parents stay longest; what was here already comes before what is new in every prefix.
  for (auto at = fresh.rbegin(); at != fresh.rend(); ++at)
    index_.unpin(at->slot);
  for (auto at = held.rbegin(); at != held.rend(); ++at)
    index_.unpin(*at);
  close_inbound(it);
  it.state = op_state::stored;
  note_changes();
  output_.push_back({who, committed{self_, op}});
}

void shard_core::on_borrow(const borrow& ask) {
  if (!alive_.contains(ask.from)) {
    ++counters_.stale;
    return;
  }
  auto answer = lent_blocks{self_, ask.id, {}, false};
  for (const auto& key : ask.keys) {
    auto slot = index_.find(key);
    if (!slot)
      break;
    answer.full = lent_.size() >= index_.pool().capacity() / 2 && !lent_.contains(*slot);
    if (answer.full)
      break;
    index_.pin(*slot);
    index_.count_read(*slot);
    ++lent_[*slot];
    answer.slots.push_back(*slot);
  }
  if (!answer.slots.empty()) {
    auto& loan = loans_[{ask.from, ask.id}];
    loan.insert(loan.end(), answer.slots.begin(), answer.slots.end());
  }
  leases_ += static_cast<uint32_t>(answer.slots.size());
  counters_.lent_blocks += answer.slots.size();
  if (!answer.full) // Otherwise the rest is asked for in a lease.
    counters_.missed_blocks += ask.keys.size() - answer.slots.size();
  output_.push_back({ask.from, std::move(answer)});
}

void shard_core::on_return(const return_blocks& ask) {
  auto at = loans_.find({ask.from, ask.id});
  if (at == loans_.end())
    return;
  take_back(at->second);
  loans_.erase(at);
}

void shard_core::take_back(const std::vector<uint32_t>& slots) {
  leases_ -= static_cast<uint32_t>(slots.size());
  for (auto at = slots.rbegin(); at != slots.rend(); ++at) {
    index_.unpin(*at);
    if (--lent_.at(*at) == 0)
      lent_.erase(*at);
  }
}

/// Takes the operation's claims away; returns the slots that were allocated for it, which are still in `transfer`.
std::vector<uint32_t> shard_core::end(operation& it) {
  if (it.state == op_state::leasing)
    leases_ -= static_cast<uint32_t>(it.pinned.size());
  for (auto at = it.pinned.rbegin(); at != it.pinned.rend(); ++at)
    index_.unpin(*at);
  auto slots = std::vector<uint32_t>{};
  for (const auto& block : it.written) {
    writing_.erase(block.key);
    slots.push_back(block.slot);
  }
  close_inbound(it);
  it = operation{};
  return slots;
}

/// A write may still land in these slots.
void shard_core::abandon(const address& who, std::vector<uint32_t> slots) {
  if (slots.empty())
    return;
  counters_.abandoned_slots += slots.size();
  fencing_.emplace(++fences_made_, std::move(slots));
  fences_.push_back({fences_made_, who});
}

void shard_core::on_fenced(const node_fenced& news) {
  auto at = fencing_.find(news.id);
  if (at == fencing_.end())
    return;
  for (auto slot : at->second)
    index_.give_back(slot);
  fencing_.erase(at);
}

bool shard_core::open_inbound(const address& who, uint64_t op, operation& it) {
  if (inbound_free_.empty())
    return false;
  auto index = inbound_free_.front();
  inbound_free_.pop_front();
  auto& entry = inbound_[index];
  entry.client = who;
  entry.op = op;
  entry.open = true;
  it.inbound_index = index;
  it.immediate = make_immediate(lane_, index, entry.generation);
  return true;
}

void shard_core::close_inbound(operation& it) {
  if (!it.inbound_index)
    return;
  auto& entry = inbound_[*it.inbound_index];
  entry.open = false;
  ++entry.generation; // what still arrives for it is nobody's
  inbound_free_.push_back(*it.inbound_index);
  it.inbound_index.reset();
}

void shard_core::note_changes() {
  for (const auto& change : index_.take_changes()) {
    counters_.evicted += !change.stored;
    feed_.record(change);
  }
}

// -- the Conductor --

void shard_core::on_conductor(const conductor_hello& news, uint64_t now) {
  if (news.term < term_ || news.from.kind != role::conductor)
    return;
  conductor_ = news.from;
  if (news.term > term_) {
    term_ = news.term;
    full_since_ = report_sequence_ + 1;
    full_acked_ = false;
    feed_.begin(term_);
  }
  send_report(now);
}

void shard_core::on_report_ack(const report_ack& news) {
  if (news.term == term_ && news.sequence >= full_since_)
    full_acked_ = true;
}

void shard_core::on_index_ack(const index_ack& news) {
  feed_.ack(news);
}

void shard_core::send_report(uint64_t now) {
  const auto& pool = index_.pool();
  auto out = report{};
  out.from = self_;
  out.term = term_;
  out.sequence = ++report_sequence_;
  out.full = !full_acked_;
  out.slots_total = pool.capacity();
  out.slots_free = pool.count(slot_state::free);
  out.slots_transfer = pool.count(slot_state::transfer);
  out.leases = leases_;
  output_.push_back({conductor_, std::move(out)});
  next_report_ = now + report_ns_;
}

void shard_core::pump(uint64_t now) {
  if (term_ == 0)
    return;
  if (auto events = feed_.poll(index_, now))
    output_.push_back({conductor_, std::move(*events)});
  if (now >= next_report_)
    send_report(now);
}

std::vector<shard_output> shard_core::take_output() {
  return std::exchange(output_, {});
}

std::vector<fence_node> shard_core::take_fences() {
  return std::exchange(fences_, {});
}

// -- invariants --

bool shard_core::check() const {
  const auto& pool = index_.pool();
  auto pins = std::vector<uint32_t>(pool.capacity(), 0);
  auto in_transfer = std::set<uint32_t>{};
  auto keys = std::set<block_key>{};
  auto leases = uint32_t{0};
  auto lent = std::map<uint32_t, uint32_t>{};
  for (const auto& [who, slots] : loans_) {
    leases += static_cast<uint32_t>(slots.size());
    for (auto slot : slots) {
      ++pins[slot];
      ++lent[slot];
    }
  }
  auto open = size_t{0};
  for (const auto& [who, it] : clients_)
    for (const auto& [op, work] : it.ops) {
      for (auto slot : work.pinned)
        ++pins[slot];
      leases += work.state == op_state::leasing ? static_cast<uint32_t>(work.pinned.size()) : 0;
      open += work.inbound_index.has_value();
      for (const auto& block : work.written)
        if (!in_transfer.insert(block.slot).second || !keys.insert(block.key).second || index_.find(block.key))
          return false;
    }
  for (const auto& [id, slots] : fencing_)
    for (auto slot : slots)
      if (!in_transfer.insert(slot).second)
        return false;
  for (uint32_t slot = 0; slot < pool.capacity(); ++slot) {
    if (in_transfer.contains(slot) != (pool.state(slot) == slot_state::transfer))
      return false;
    if (pool.state(slot) == slot_state::live ? pool.refs(slot) != pins[slot] + 1 : pins[slot] != 0)
      return false;
  }
  return index_.check() && leases == leases_ && lent == lent_ && lent.size() <= pool.capacity() / 2 && keys == writing_
         && open + inbound_free_.size() == inbound_.size();
}

} // namespace perigee
