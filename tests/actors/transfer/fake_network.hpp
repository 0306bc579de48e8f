// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/sim/random.hpp"
#include "transport/fabric.hpp"

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace perigee::testing {

/// How unkind the network is. Millionths, ns.
struct fake_faults {
  uint64_t delay_ns_max = 200'000;
  uint32_t stuck_ppm = 0;    ///< the transfer does not end by itself
  uint32_t stubborn_ppm = 0; ///< of the stuck ones: not even when cancelled, only by a fence
  uint32_t lost_ppm = 0;     ///< a write completes and never lands
  uint32_t refused_ppm = 0;  ///< io_error; a write may have landed, or lands later
  uint32_t late_ppm = 0;     ///< a write lands up to `late_ns_max` after its completion
  uint64_t late_ns_max = 0;
};

/// Fabrics without threads that meet in one memory. Everything happens in calls of `after`, which the test provides;
/// nothing is reported from inside a call of a fabric. It keeps only what fabric.hpp promises: a write may land after
/// it completed, failed or was cancelled, as long as the target has not reported its endpoint as fenced.
class fake_network {
public:
  using after_function = std::function<void(uint64_t delay_ns, std::function<void()> action)>;

  /// A piece of a write that is about to land: target node, offset in the region named by `key`, bytes, and the stamp
  /// that `stamp` gave when the write was posted.
  struct landing {
    uint32_t node;
    uint64_t key;
    uint64_t offset;
    uint64_t bytes;
    uint64_t stamp;
  };

  fake_network(uint64_t seed, after_function after);
  ~fake_network();

  std::unique_ptr<transport::fabric> make(uint32_t node, transport::fabric_events& events);

  void set_faults(const fake_faults& faults) {
    faults_ = faults;
  }

  /// Asked for each piece of a write when it is posted; the answer comes back in `on_landing`.
  std::function<uint64_t(uint64_t key, uint64_t offset)> stamp;
  /// Called just before bytes are changed by a write from elsewhere.
  std::function<void(const landing&)> on_landing;

  /// What happened, for tests that must not pass because nothing did.
  struct counters {
    uint64_t landed = 0;
    uint64_t landed_after_end = 0; ///< after the writer had been told that it failed or was cancelled
    uint64_t fenced_off = 0;       ///< writes that found their endpoint fenced
    uint64_t stuck = 0;
  };

  const counters& totals() const {
    return totals_;
  }

private:
  friend class fake_fabric;
  struct endpoint;
  struct job;
  struct node_state;

  void after(uint64_t delay_max, std::function<void()> action);
  void start(const std::shared_ptr<job>& work);
  void land(const std::shared_ptr<job>& work);
  void copy_read(const std::shared_ptr<job>& work);
  void end(const std::shared_ptr<job>& work, status outcome);

  after_function after_;
  sim::random_stream random_;
  fake_faults faults_;
  counters totals_;
  std::map<std::string, std::weak_ptr<endpoint>> endpoints_; // by address
  std::map<uint64_t, std::span<std::byte>> memory_;          // by key, of living nodes
  std::map<uint64_t, uint32_t> owner_of_memory_;
  uint64_t made_ = 0;
};

} // namespace perigee::testing
