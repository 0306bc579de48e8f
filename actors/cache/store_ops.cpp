// SPDX-License-Identifier: Apache-2.0
#include "actors/cache/store_core.hpp"

#include "actors/core/marker.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

// Operations at shards, of which a job may need several: what is asked, repeated until it is answered, and given up.

namespace perigee {

bool store_core::open_op(uint64_t job, operation added, uint64_t now) {
  if (ops_.size() >= settings_.ops_max)
    return false;
  auto op = ++ops_made_;
  added.job = job;
  ops_.emplace(op, std::move(added));
  jobs_.at(job).ops.insert(op);
  send_op(op, now);
  return true;
}

/// The operation is over for its job.
void store_core::leave(uint64_t op, uint32_t stored) {
  auto number = std::exchange(ops_.at(op).job, 0);
  if (number == 0)
    return;
  auto& it = jobs_.at(number);
  it.done += stored;
  it.ops.erase(op);
  if (it.ops.empty())
    finish(number);
}

/// Nobody here waits for the operation any more; the shard is told until it says so.
void store_core::release_op(uint64_t op, bool fence, uint64_t now) {
  auto& it = ops_.at(op);
  it.job = 0;
  it.state = op_state::releasing;
  it.fence = fence;
  it.deadline = never;
  it.keys.clear();
  it.slots.clear();
  it.places.clear();
  it.there.slots.clear();
  if (live(it.shard))
    send_op(op, now);
  else
    ops_.erase(op);
}

store_core::operation* store_core::expect(uint64_t op, const address& from, op_state state) {
  auto at = ops_.find(op);
  if (at == ops_.end() || at->second.shard != from || at->second.state != state)
    return nullptr;
  return &at->second;
}

void store_core::on_leased(const leased& news, uint64_t now) {
  auto* it = expect(news.op, news.from, op_state::leasing);
  if (!it)
    return;
  auto job = it->job;
  it->blocks = static_cast<uint32_t>(std::min(news.slots.size(), it->keys.size()));
  if (it->blocks == 0) {
    jobs_.at(job).ops.erase(news.op);
    release_op(news.op, false, now);
    finish(job);
  } else {
    it->state = op_state::reading;
    auto deadline = jobs_.at(job).deadline;
    auto work = move_blocks{};
    work.op = transport::direction::read;
    work.remote = news.region;
    work.deadline_ns = deadline > now ? deadline - now : 1;
    send_move(news.op, std::move(work), part(news.slots, 0, it->blocks));
  }
  run_queue(now);
}

void store_core::on_allocated(const allocated& news, uint64_t now) {
  auto* it = expect(news.op, news.from, op_state::allocating);
  if (!it)
    return;
  auto ours = std::vector<uint32_t>{};
  auto theirs = std::vector<uint32_t>{};
  auto places = std::vector<uint32_t>{};
  auto has_all = true;
  for (size_t i = 0; i < std::min(news.slots.size(), it->slots.size()); ++i)
    if (news.slots[i] != no_slot) {
      has_all &= it->slots[i] != no_slot;
      ours.push_back(it->slots[i]);
      places.push_back(static_cast<uint32_t>(i));
      theirs.push_back(news.slots[i]);
    }
  if (!has_all) { // What it had lent is not there any more; without that the rest is of no use.
    marker("store: lent block evicted before its successors were stored");
    ours.clear();
    theirs.clear();
  }
  it->slots = std::move(ours);
  it->blocks = static_cast<uint32_t>(theirs.size());
  if (it->blocks == 0) {
    leave(news.op, 0);
    release_op(news.op, false, now);
  } else if (jobs_.at(it->job).in_parts) {
    it->state = op_state::writing;
    it->deadline = never; // the owner's
    it->pieces = 0;
    it->places = std::move(places);
    it->there = news;
    it->there.slots = std::move(theirs);
    send_parts(news.op);
  } else {
    it->state = op_state::writing;
    it->deadline = never; // the transport's
    auto work = move_blocks{};
    work.op = transport::direction::write;
    work.remote = news.region;
    work.immediate = news.immediate;
    work.deadline_ns = settings_.transfer_ns;
    send_move(news.op, std::move(work), theirs);
  }
  run_queue(now);
}

void store_core::send_move(uint64_t op, move_blocks work, const std::vector<uint32_t>& there) {
  const auto& it = ops_.at(op);
  work.id = op;
  work.peer = it.shard;
  work.local = settings_.pool_region;
  auto block = settings_.block_bytes;
  auto bytes = it.bytes == 0 ? block : it.bytes;
  for (size_t i = 0; i < there.size(); ++i)
    work.pieces.push_back({it.slots[i] * block + it.offset, there[i] * block + it.offset, bytes});
  output_.push_back({std::move(work)});
}

void store_core::on_moved(const moved& news, uint64_t now) {
  if (auto part = part_moves_.extract(news.id)) {
    part_done(part.mapped(), news, now);
    return run_queue(now);
  }
  auto at = ops_.find(news.id);
  if (at == ops_.end())
    return;
  if (at->second.state == op_state::reading)
    read_done(news.id, news, now);
  else if (at->second.state == op_state::writing)
    write_done(news.id, news, now);
  run_queue(now);
}

void store_core::read_done(uint64_t op, const moved& news, uint64_t now) {
  auto& it = ops_.at(op);
  auto number = it.job;
  auto whole = it.blocks == it.keys.size();
  auto& work = jobs_.at(number);
  if (news.outcome.ok()) {
    work.done += it.blocks;
    work.bytes += news.bytes;
  }
  work.ops.erase(op);
  release_op(op, false, now);
  if (news.outcome.ok() && whole)
    next_segment(number, now);
  else
    finish(number);
}

void store_core::write_done(uint64_t op, const moved& news, uint64_t now) {
  auto& it = ops_.at(op);
  auto code = news.outcome.code;
  if (!news.outcome.ok() || !live(it.shard)) {
    leave(op, 0);
    return release_op(op, code == errc::timed_out || code == errc::peer_lost, now);
  }
  it.state = op_state::committing;
  it.deadline = now + settings_.transfer_ns;
  if (jobs_.at(it.job).ending)
    leave(op, 0);
  send_op(op, now);
}

void store_core::on_committed(const committed& news, uint64_t now) {
  if (auto* it = expect(news.op, news.from, op_state::committing)) {
    leave(news.op, it->blocks);
    ops_.erase(news.op);
  }
  run_queue(now);
}

void store_core::on_released(const released& news, uint64_t now) {
  if (expect(news.op, news.from, op_state::releasing))
    ops_.erase(news.op);
  run_queue(now);
}

void store_core::op_overdue(uint64_t op, uint64_t now) {
  auto& it = ops_.at(op);
  assert(it.state == op_state::allocating || it.state == op_state::committing);
  // A write that left here long ago and has not arrived may still do so.
  auto fence = it.state == op_state::committing;
  leave(op, 0);
  release_op(op, fence, now);
}

void store_core::send_op(uint64_t op, uint64_t now) {
  auto& it = ops_.at(op);
  it.next_send = now + settings_.retry_ns;
  auto from = open_from(it.shard);
  auto say = [&](auto message) { output_.push_back({store_output::to_shard{it.shard, std::move(message)}}); };
  switch (it.state) {
  case op_state::leasing: return say(lease{settings_.self, op, from, it.keys});
  case op_state::allocating: return say(allocate{settings_.self, op, from, it.keys});
  case op_state::committing: return say(commit{settings_.self, op, from, it.pieces});
  case op_state::releasing: return say(release{settings_.self, op, from, it.fence});
  case op_state::reading:
  case op_state::writing: return;
  }
}

/// What the shard may forget is counted per shard, so that one that is silent does not keep the others from forgetting.
uint64_t store_core::open_from(const address& shard) const {
  for (const auto& [op, it] : ops_)
    if (it.shard == shard)
      return op;
  return ops_made_ + 1;
}

} // namespace perigee
