// SPDX-License-Identifier: Apache-2.0
#include "transport/ledger.hpp"

#include <fmt/format.h>

#include <cassert>

namespace perigee::transport {

status ledger::open(uint64_t id, region_id local) {
  auto lock = std::lock_guard{mutex_};
  if (outstanding_ >= transfers_max_)
    return {
      errc::exhausted,
      fmt::format("transfer {}: {} transfers are outstanding, which is the limit; post it again after one completed",
                  id, outstanding_)};
  ++outstanding_;
  ++users_[local];
  return {};
}

void ledger::close(fabric_events& events, const transfer& work, const status& result, uint64_t bytes,
                   bool by_provider) {
  {
    auto lock = std::lock_guard{mutex_};
    auto user = users_.find(work.local);
    assert(outstanding_ > 0 && user != users_.end());
    --outstanding_;
    if (--user->second == 0)
      users_.erase(user);
  }
  (by_provider ? provider_bytes_ : copied_bytes_).fetch_add(bytes, std::memory_order_relaxed);
  if (!result.ok() && result.code != errc::cancelled)
    failed_transfers_.fetch_add(1, std::memory_order_relaxed);
  events.completed(work.id, result, bytes);
}

void ledger::refuse(fabric_events& events, uint64_t id, const status& why) {
  failed_transfers_.fetch_add(1, std::memory_order_relaxed);
  events.completed(id, why, 0);
}

uint32_t ledger::users(region_id region) const {
  auto lock = std::lock_guard{mutex_};
  auto user = users_.find(region);
  return user == users_.end() ? 0 : user->second;
}

fabric::counters ledger::totals() const noexcept {
  return {provider_bytes_.load(std::memory_order_relaxed), copied_bytes_.load(std::memory_order_relaxed),
          failed_transfers_.load(std::memory_order_relaxed)};
}

} // namespace perigee::transport
