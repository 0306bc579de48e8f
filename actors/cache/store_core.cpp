// SPDX-License-Identifier: Apache-2.0
#include "actors/cache/store_core.hpp"

#include "actors/cache/rendezvous.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

namespace perigee {

store_core::store_core(store_settings settings) : settings_(settings) {}

// -- membership --

void store_core::peer_up(const address& who, uint64_t now) {
  if (who.kind != role::shard)
    return;
  if (auto at = shards_.find(who.index); at != shards_.end() && at->second != who)
    peer_down(at->second, now);
  shards_[who.index] = who;
}

void store_core::peer_down(const address& who, uint64_t now) {
  if (!live(who))
    return;
  shards_.erase(who.index);
  auto concerned = std::vector<uint64_t>{};
  for (const auto& [op, it] : ops_)
    if (it.shard == who)
      concerned.push_back(op);
  for (auto op : concerned) {
    auto state = ops_.at(op).state;
    if (state == op_state::reading)
      output_.push_back({cancel_move{op}});
    auto idle_parts = state == op_state::writing && jobs_.at(ops_.at(op).job).in_parts && ops_.at(op).moves.empty();
    if (state == op_state::reading || (state == op_state::writing && !idle_parts))
      continue; // until the transport says that it is over
    leave(op, 0);
    ops_.erase(op);
  }
  // What it has lent can be read as before: the memory is the node's. There is nobody to return it to.
  for (auto at = loans_.begin(); at != loans_.end();) {
    auto [key, lent] = *at++;
    if (lent.shard != who)
      continue;
    loans_.erase(key);
    if (auto job = jobs_.find(lent.job); job != jobs_.end() && std::exchange(job->second.borrowing, 0) > 0)
      finish(lent.job);
  }
  run_queue(now);
}

bool store_core::live(const address& shard) const {
  auto at = shards_.find(shard.index);
  return at != shards_.end() && at->second == shard;
}

std::optional<address> store_core::home(const block_key& key, std::optional<uint32_t> preferred) const {
  for (auto index : {preferred, settings_.local_shard})
    if (auto at = index ? shards_.find(*index) : shards_.end(); at != shards_.end())
      return at->second;
  auto best = std::optional<address>{};
  auto best_weight = uint64_t{0};
  for (const auto& [index, shard] : shards_) {
    auto weight = rendezvous_weight(key, index);
    if (!best || weight > best_weight) {
      best = shard;
      best_weight = weight;
    }
  }
  return best;
}

// -- jobs --

void store_core::start(store_owner owner, const fetch& ask, uint64_t now) {
  auto added = job{};
  added.owner = owner;
  added.id = ask.id;
  added.reads = true;
  added.keys = ask.keys;
  added.slots = ask.slots;
  added.plan = ask.plan;
  added.part_offset = ask.offset;
  added.part_bytes = ask.bytes;
  added.lend = ask.bytes == 0 ? ask.lend : 0;
  added.deadline = now + (ask.deadline_ns == 0 ? settings_.transfer_ns : ask.deadline_ns);
  add(std::move(added), now);
}

void store_core::start(store_owner owner, const publish& ask, uint64_t now) {
  auto added = job{};
  added.owner = owner;
  added.id = ask.id;
  added.keys = ask.keys;
  added.slots = ask.slots;
  added.shard = ask.shard;
  added.in_parts = ask.in_parts;
  added.deadline = now + settings_.transfer_ns;
  add(std::move(added), now);
}

void store_core::add(job added, uint64_t now) {
  auto number = ++jobs_made_;
  auto refused = jobs_.size() - at_work_ >= settings_.queue_max || by_owner_.contains({added.owner, added.id})
                 || added.keys.size() != added.slots.size();
  if (!refused)
    by_owner_.emplace(std::pair{added.owner, added.id}, number);
  jobs_.emplace(number, std::move(added));
  if (refused)
    return finish(number);
  queue_.push_back(number);
  run_queue(now);
}

void store_core::run_queue(uint64_t now) {
  while (at_work_ < settings_.jobs_max && !queue_.empty()) {
    auto number = queue_.front();
    queue_.pop_front();
    auto& it = jobs_.at(number);
    it.begun = true;
    ++at_work_;
    if (it.reads)
      next_segment(number, now);
    else
      begin_publish(number, now);
  }
}

void store_core::next_segment(uint64_t number, uint64_t now) {
  auto& it = jobs_.at(number);
  while (!it.ending && it.segment < it.plan.size() && it.done < it.keys.size()) {
    const auto& segment = it.plan[it.segment];
    auto count = std::min<size_t>(segment.blocks, it.keys.size() - it.done);
    if (count > 0 && it.done < it.lend && lends(segment.shard))
      return ask_to_lend(number, segment.shard, std::min(static_cast<uint32_t>(count), it.lend - it.done));
    ++it.segment;
    if (count == 0)
      continue;
    auto here = it.slots.begin() + it.done;
    count = static_cast<size_t>(std::find(here, here + static_cast<std::ptrdiff_t>(count), no_slot) - here);
    if (count == 0)
      break; // It could only be lent.
    auto added = operation{};
    added.shard = segment.shard;
    added.state = op_state::leasing;
    added.keys = part(it.keys, it.done, count);
    added.slots = part(it.slots, it.done, count);
    added.offset = it.part_offset;
    added.bytes = it.part_bytes;
    added.deadline = never; // the job's
    if (live(segment.shard) && open_op(number, std::move(added), now))
      return;
    break;
  }
  finish(number);
}

void store_core::begin_publish(uint64_t number, uint64_t now) {
  auto& it = jobs_.at(number);
  it.deadline = never; // from here on each operation has its own
  auto by_shard = std::map<address, operation>{};
  auto one = it.in_parts && !it.keys.empty() ? home(it.keys[0], it.shard) : std::nullopt;
  for (size_t i = 0; i < it.keys.size(); ++i)
    if (auto shard = it.in_parts ? one : home(it.keys[i], it.shard);
        shard && (it.in_parts || it.slots[i] != no_slot || lends(*shard))) {
      auto& added = by_shard[*shard];
      added.keys.push_back(it.keys[i]);
      added.slots.push_back(it.slots[i]);
    }
  for (auto& [shard, added] : by_shard) {
    added.shard = shard;
    added.state = op_state::allocating;
    added.deadline = now + settings_.transfer_ns;
    open_op(number, std::move(added), now);
  }
  if (it.ops.empty())
    finish(number);
}

void store_core::cancel(store_owner owner, uint64_t id, uint64_t now) {
  auto at = by_owner_.find({owner, id});
  if (at == by_owner_.end())
    return;
  give_up(at->second, now);
  run_queue(now);
}

void store_core::owner_gone(store_owner owner, uint64_t now) {
  auto numbers = std::vector<uint64_t>{};
  for (auto at = by_owner_.lower_bound({owner, 0}); at != by_owner_.end() && at->first.first == owner; ++at)
    numbers.push_back(at->second);
  for (auto number : numbers) {
    jobs_.at(number).orphaned = true;
    give_up(number, now);
  }
  for (auto at = loans_.lower_bound({owner, 0}); at != loans_.end() && at->first.first == owner; ++at)
    at->second.return_at = now + lent_after_ns();
  run_queue(now);
}

void store_core::give_up(uint64_t number, uint64_t now) {
  auto& it = jobs_.at(number);
  if (it.ending)
    return;
  it.ending = true;
  if (!it.begun) {
    std::erase(queue_, number);
    return finish(number);
  }
  if (std::exchange(it.borrowing, 0) > 0 && it.lent.empty())
    give_back(it.owner, it.id, now); // Otherwise the owner does, with what it has.
  for (auto op : std::set<uint64_t>{it.ops})
    switch (ops_.at(op).state) {
    case op_state::leasing:
    case op_state::allocating:
      it.ops.erase(op);
      release_op(op, false, now);
      break;
    case op_state::reading: output_.push_back({cancel_move{op}}); break;
    case op_state::committing:
      it.ops.erase(op);
      ops_.at(op).job = 0; // it may as well become visible
      break;
    case op_state::writing:
      if (it.in_parts && ops_.at(op).moves.empty()) {
        it.ops.erase(op);
        release_op(op, ops_.at(op).pieces > 0, now);
      }
      break;
    case op_state::releasing: break;
    }
  if (it.ops.empty())
    finish(number);
}

void store_core::finish(uint64_t number) {
  auto& it = jobs_.at(number);
  assert(it.ops.empty());
  for (const auto& part : it.parts)
    tell_part(it, part.offset);
  if (!it.orphaned) {
    if (!it.lent.empty())
      it.lent.resize(it.done, no_slot);
    if (it.reads)
      output_.push_back({store_output::to_owner{it.owner, fetched{it.id, it.done, it.bytes, std::move(it.lent)}}});
    else
      output_.push_back({store_output::to_owner{it.owner, published{it.id, it.done}}});
  }
  if (it.begun)
    --at_work_;
  if (auto at = by_owner_.find({it.owner, it.id}); at != by_owner_.end() && at->second == number)
    by_owner_.erase(at);
  jobs_.erase(number);
}

// -- time --

void store_core::tick(uint64_t now) {
  for (auto at = loans_.begin(); at != loans_.end();) {
    auto key = (at++)->first;
    if (now >= loans_.at(key).return_at)
      give_back(key.first, key.second, now);
  }
  auto late_jobs = std::vector<uint64_t>{};
  for (const auto& [number, it] : jobs_)
    if (now >= it.deadline)
      late_jobs.push_back(number);
  for (auto number : late_jobs)
    give_up(number, now);
  auto due = std::vector<uint64_t>{};
  for (const auto& [op, it] : ops_)
    if (now >= it.deadline || now >= it.next_send)
      due.push_back(op);
  for (auto op : due) {
    if (now >= ops_.at(op).deadline)
      op_overdue(op, now);
    else if (auto state = ops_.at(op).state; state != op_state::reading && state != op_state::writing)
      send_op(op, now);
  }
  run_queue(now);
}

std::vector<store_output> store_core::take_output() {
  return std::exchange(output_, {});
}

bool store_core::check() const {
  auto begun = uint32_t{0};
  auto awaited = size_t{0};
  for (const auto& [number, it] : jobs_) {
    begun += it.begun;
    awaited += it.ops.size();
    if (it.begun == (std::find(queue_.begin(), queue_.end(), number) != queue_.end()))
      return false;
    for (auto op : it.ops)
      if (auto at = ops_.find(op); at == ops_.end() || at->second.job != number)
        return false;
  }
  for (const auto& [number, it] : jobs_)
    if (auto lent = loans_.find({it.owner, it.id});
        it.borrowing > 0 && (lent == loans_.end() || lent->second.job != number || !it.ops.empty() || it.ending))
      return false;
  auto claimed = size_t{0};
  auto moves = size_t{0};
  for (const auto& [op, it] : ops_) {
    claimed += it.job != 0;
    moves += it.moves.size();
    if (it.job == 0 && it.state != op_state::releasing && it.state != op_state::committing)
      return false;
  }
  return begun == at_work_ && at_work_ <= settings_.jobs_max && awaited == claimed && moves == part_moves_.size()
         && jobs_.size() - at_work_ == queue_.size() && ops_.size() <= settings_.ops_max;
}

} // namespace perigee
