// SPDX-License-Identifier: Apache-2.0
#include "actors/cache/store_core.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

// Blocks that a fetch borrows from the local shard instead of reading them.

namespace perigee {

/// Whether the instance can read the pool of that shard in place.
bool store_core::lends(const address& shard) const {
  return settings_.lent && settings_.lent->shard == shard.index && shard.node == settings_.self.node && live(shard);
}

void store_core::ask_to_lend(uint64_t number, const address& shard, uint32_t count) {
  auto& it = jobs_.at(number);
  it.borrowing = count;
  loans_[{it.owner, it.id}] = {number, shard};
  output_.push_back({store_output::to_shard{shard, borrow{settings_.self, number, part(it.keys, it.done, count)}}});
}

void store_core::on_lent(const lent_blocks& news, uint64_t now) {
  auto at = jobs_.find(news.id);
  if (at == jobs_.end() || at->second.borrowing == 0 || !live(news.from))
    return; // It was given up, and is being returned.
  auto& it = at->second;
  auto asked = std::exchange(it.borrowing, 0);
  auto count = static_cast<uint32_t>(std::min<size_t>(news.slots.size(), asked));
  if (count > 0) {
    it.lent.resize(it.done, no_slot);
    for (auto slot : part(news.slots, 0, count))
      it.lent.push_back(settings_.lent->slot_first + slot);
    it.done += count;
    it.plan[it.segment].blocks -= count;
  }
  if (it.lent.empty())
    loans_.erase({it.owner, it.id});
  if (news.full)
    it.lend = 0;
  if (count == asked || news.full)
    next_segment(news.id, now);
  else
    finish(news.id);
  run_queue(now);
}

void store_core::return_loan(const loan& what) {
  if (live(what.shard))
    output_.push_back({store_output::to_shard{what.shard, return_blocks{settings_.self, what.job}}});
}

void store_core::give_back(store_owner owner, uint64_t id, uint64_t) {
  auto at = loans_.find({owner, id});
  if (at == loans_.end())
    return; // The shard is gone.
  return_loan(at->second);
  loans_.erase(at);
}

} // namespace perigee
