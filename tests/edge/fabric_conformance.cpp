// SPDX-License-Identifier: Apache-2.0
#include "tests/edge/fabric_conformance.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>

namespace perigee::testing {

namespace {

// Any log rings it; `wait_for_fabrics` listens.
struct bell {
  std::mutex mutex;
  std::condition_variable rung;
};

bell& the_bell() {
  static auto one = bell{};
  return one;
}

void ring() {
  // The lock orders the ring after a listener's look at its condition.
  { auto lock = std::lock_guard{the_bell().mutex}; }
  the_bell().rung.notify_all();
}

} // namespace

void fabric_log::completed(uint64_t id, status result, uint64_t bytes) {
  {
    auto lock = std::lock_guard{mutex_};
    completions_.push_back({id, std::move(result), bytes});
  }
  ring();
}

void fabric_log::arrived(transport::peer_id from, uint32_t immediate) {
  auto what = arrival{from, immediate};
  if (on_arrival)
    on_arrival(what);
  {
    auto lock = std::lock_guard{mutex_};
    arrivals_.push_back(what);
  }
  ring();
}

void fabric_log::fenced(transport::peer_id peer) {
  {
    auto lock = std::lock_guard{mutex_};
    fences_.emplace_back(peer, completions_.size());
  }
  ring();
}

std::vector<fabric_log::completion> fabric_log::completions() const {
  auto lock = std::lock_guard{mutex_};
  return completions_;
}

std::vector<fabric_log::arrival> fabric_log::arrivals() const {
  auto lock = std::lock_guard{mutex_};
  return arrivals_;
}

std::vector<transport::peer_id> fabric_log::fences() const {
  auto lock = std::lock_guard{mutex_};
  auto out = std::vector<transport::peer_id>{};
  for (const auto& fence : fences_)
    out.push_back(fence.first);
  return out;
}

size_t fabric_log::completions_at_fence(transport::peer_id peer) const {
  auto lock = std::lock_guard{mutex_};
  auto found = std::find_if(fences_.begin(), fences_.end(), [&](const auto& fence) { return fence.first == peer; });
  return found == fences_.end() ? 0 : found->second;
}

size_t fabric_log::completed_times(uint64_t id) const {
  auto lock = std::lock_guard{mutex_};
  return static_cast<size_t>(
    std::count_if(completions_.begin(), completions_.end(), [&](const auto& done) { return done.id == id; }));
}

status fabric_log::result(uint64_t id) const {
  auto lock = std::lock_guard{mutex_};
  auto found = std::find_if(completions_.begin(), completions_.end(), [&](const auto& done) { return done.id == id; });
  REQUIRE_MESSAGE(found != completions_.end(), "transfer " << id << " has not completed");
  return found->result;
}

fabric_side& fabric_world::add(size_t bytes, std::byte fill) {
  auto& side = *sides_.emplace_back(std::make_unique<fabric_side>());
  side.memory.assign(bytes, fill);
  side.own = make(side.log);
  side.region = side->register_memory(side.memory);
  return side;
}

void fabric_world::kill(fabric_side& victim) {
  victim.own.reset();
}

void fabric_world::clear() {
  for (auto& side : sides_)
    side->own.reset();
}

bool wait_for_fabrics(const std::function<bool()>& done) {
  using namespace std::chrono_literals;
  auto end = std::chrono::steady_clock::now() + 20s;
  auto& one = the_bell();
  auto lock = std::unique_lock{one.mutex};
  while (!done()) {
    if (std::chrono::steady_clock::now() > end)
      return false;
    one.rung.wait_for(lock, 5ms); // memory that another process writes rings no bell
  }
  return true;
}

} // namespace perigee::testing
