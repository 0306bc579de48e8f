// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/fabric.hpp"

#include <condition_variable>
#include <mutex>

namespace perigee::testing {

/// Writes a region to a target over and over, a few transfers in flight, until it is told to end or a transfer fails.
/// Can be stopped where it stands: its fabric's thread is then held in an event.
class relentless_writer final : public transport::fabric_events {
public:
  void completed(uint64_t, status result, uint64_t) override {
    auto lock = std::unique_lock{mutex_};
    changed_.wait(lock, [&] { return !stopped_; });
    --in_flight_;
    failed_ |= !result.ok();
    changed_.notify_all();
  }
  void arrived(transport::peer_id, uint32_t) override {}
  void fenced(transport::peer_id) override {}

  /// Returns when there is nothing more to do. `fabric` reports to this object.
  void run(transport::fabric& fabric, transport::peer_id peer, transport::region_id region,
           const transport::remote_region& target) {
    for (auto n = uint32_t{1};; ++n) {
      {
        auto lock = std::unique_lock{mutex_};
        changed_.wait(lock, [&] { return ended_ || failed_ || (!stopped_ && in_flight_ < in_flight_max); });
        if (ended_ || failed_)
          return;
        ++in_flight_;
      }
      fabric.post({n, transport::direction::write, peer, region, target, {{0, 0, target.bytes}}, n});
    }
  }

  void stop(bool now) {
    auto lock = std::lock_guard{mutex_};
    stopped_ = now;
    changed_.notify_all();
  }

  void end() {
    auto lock = std::lock_guard{mutex_};
    ended_ = true;
    stopped_ = false;
    changed_.notify_all();
  }

private:
  static constexpr int in_flight_max = 4;
  std::mutex mutex_;
  std::condition_variable changed_;
  int in_flight_ = 0; // guarded by mutex_, as everything here
  bool failed_ = false;
  bool stopped_ = false;
  bool ended_ = false;
};

} // namespace perigee::testing
