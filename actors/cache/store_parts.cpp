// SPDX-License-Identifier: Apache-2.0
#include "actors/cache/store_core.hpp"

#include <utility>

// Publishes whose blocks are written a part at a time, as their owner says that it is there.

namespace perigee {

void store_core::add_part(store_owner owner, const publish_part& ask, uint64_t now) {
  auto at = by_owner_.find({owner, ask.id});
  if (at == by_owner_.end()) {
    auto over = job{};
    over.owner = owner;
    over.id = ask.id;
    return tell_part(over, ask.offset);
  }
  auto& it = jobs_.at(at->second);
  if (it.ending || !it.in_parts || ask.places.size() != it.keys.size())
    return tell_part(it, ask.offset);
  it.parts.push_back(ask);
  for (auto op : it.ops)
    if (ops_.at(op).state == op_state::writing)
      send_parts(op);
  run_queue(now);
}

/// Writes the parts that have come so far.
void store_core::send_parts(uint64_t op) {
  auto& it = ops_.at(op);
  auto& of = jobs_.at(it.job);
  for (auto& part : std::exchange(of.parts, {})) {
    if (it.failed || !live(it.shard)) {
      tell_part(of, part.offset);
      continue;
    }
    auto work = move_blocks{};
    work.id = ++ops_made_;
    work.peer = it.shard;
    work.local = settings_.pool_region;
    work.remote = it.there.region;
    work.immediate = it.there.immediate;
    work.deadline_ns = settings_.transfer_ns;
    for (size_t i = 0; i < it.places.size(); ++i)
      work.pieces.push_back(
        {part.places[it.places[i]], it.there.slots[i] * settings_.block_bytes + part.offset, part.bytes});
    it.moves[work.id] = part.offset;
    it.written += part.bytes;
    part_moves_[work.id] = op;
    output_.push_back({std::move(work)});
  }
}

void store_core::part_done(uint64_t op, const moved& news, uint64_t now) {
  auto& it = ops_.at(op);
  auto part = it.moves.extract(news.id);
  it.pieces += news.outcome.ok();
  it.failed |= !news.outcome.ok();
  it.fence |= news.outcome.code == errc::timed_out || news.outcome.code == errc::peer_lost;
  tell_part(jobs_.at(it.job), part.mapped());
  settle_parts(op, now);
}

/// When no part is being written: commits if all were, or gives the slots back if the rest will not come.
void store_core::settle_parts(uint64_t op, uint64_t now) {
  auto& it = ops_.at(op);
  if (!it.moves.empty())
    return;
  if (it.failed || !live(it.shard) || jobs_.at(it.job).ending) {
    auto fence = it.fence || it.pieces > 0;
    leave(op, 0);
    release_op(op, fence, now);
  } else if (it.written == settings_.block_bytes) {
    it.state = op_state::committing;
    it.deadline = now + settings_.transfer_ns;
    send_op(op, now);
  }
}

void store_core::tell_part(const job& of, uint64_t offset) {
  if (!of.orphaned)
    output_.push_back({store_output::to_owner{of.owner, part_published{of.id, offset}}});
}

} // namespace perigee
