// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/fabric.hpp"

#include <atomic>
#include <mutex>
#include <unordered_map>

namespace perigee::transport {

/// What every fabric counts: transfers outstanding, in all and per region, and the bytes they moved. Any thread.
class ledger {
public:
  explicit ledger(uint32_t transfers_max) : transfers_max_(transfers_max) {}

  /// Counts a transfer in, or answers `exhausted`. Each one counted in ends with one call of `close`.
  status open(uint64_t id, region_id local);

  /// Counts it out and reports it.
  void close(fabric_events& events, const transfer& work, const status& result, uint64_t bytes, bool by_provider);

  /// Reports a transfer that was never counted in.
  void refuse(fabric_events& events, uint64_t id, const status& why);

  /// Transfers outstanding whose local side is `region`.
  uint32_t users(region_id region) const;

  fabric::counters totals() const noexcept;

private:
  const uint32_t transfers_max_;
  mutable std::mutex mutex_;
  uint32_t outstanding_ = 0;                      // guarded by mutex_
  std::unordered_map<region_id, uint32_t> users_; // guarded by mutex_; no zero entries
  std::atomic<uint64_t> provider_bytes_ = 0;
  std::atomic<uint64_t> copied_bytes_ = 0;
  std::atomic<uint64_t> failed_transfers_ = 0;
};

} // namespace perigee::transport
