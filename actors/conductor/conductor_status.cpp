// SPDX-License-Identifier: Apache-2.0
#include "actors/conductor/conductor_core.hpp"

namespace perigee {

cluster_status conductor_core::status(uint64_t now_ns) const {
  auto result = cluster_status{};
  result.conductor = options_.self;
  result.term = options_.self.incarnation;
  result.policy = options_.policy;
  result.waiting = static_cast<uint32_t>(asking_ + held_.size() + (outstanding_ ? 1 : 0));
  result.placements = placements_;
  result.rejections = rejections_;
  result.redirections = redirections_;
  for (const auto& [place, at] : books_.members()) {
    auto item = member_status{};
    item.who = at.who;
    item.alive = at.ready;
    item.last = at.last;
    item.queue_ns = at.free_at_ns > now_ns ? at.free_at_ns - now_ns : 0;
    item.placed = at.open;
    item.tokens_reserved = at.tokens;
    item.blocks = place.first == role::shard ? index_.blocks_of(place.second) : 0;
    result.members.push_back(std::move(item));
  }
  return result;
}

std::optional<decision_record> conductor_core::decision_of(const request_id& request) const {
  for (auto at = decisions_.rbegin(); at != decisions_.rend(); ++at)
    if (at->id.request == request)
      return *at;
  return std::nullopt;
}

} // namespace perigee
