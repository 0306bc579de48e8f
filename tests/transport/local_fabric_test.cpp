// SPDX-License-Identifier: Apache-2.0
#include "tests/support/testing.hpp"
#include "transport/local/local_fabric.hpp"

#include <condition_variable>
#include <mutex>
#include <thread>

using namespace perigee;
using namespace perigee::transport;

namespace {

/// Notes on which thread each event came.
class thread_log final : public fabric_events {
public:
  void completed(uint64_t, status result, uint64_t) override {
    auto lock = std::lock_guard{mutex_};
    completions_.emplace_back(std::this_thread::get_id(), result.code);
    changed_.notify_all();
  }
  void arrived(peer_id, uint32_t) override {}
  void fenced(peer_id) override {}

  std::vector<std::pair<std::thread::id, errc>> wait_for(size_t count) {
    auto lock = std::unique_lock{mutex_};
    changed_.wait_for(lock, std::chrono::seconds{20}, [&] { return completions_.size() >= count; });
    return completions_;
  }
  size_t count() {
    auto lock = std::lock_guard{mutex_};
    return completions_.size();
  }

private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::pair<std::thread::id, errc>> completions_;
};

} // namespace

TEST_CASE("local_fabric: small copies to itself end inside post, larger ones leave the caller's thread") {
  auto log = thread_log{};
  auto fabric = make_local_fabric(make_local_network(), log, {.transfers_max = 8, .inline_bytes_max = 1000});
  auto memory = std::vector<std::byte>(1 << 20, std::byte{1});
  auto region = fabric->register_memory(memory);
  fabric->post({1, direction::write, self_peer, region, fabric->remote(region), {{0, 5000, 1000}}, {}});
  REQUIRE_EQ(log.count(), 1);
  CHECK_EQ(log.wait_for(1)[0].first, std::this_thread::get_id());
  fabric->post({2, direction::write, self_peer, region, fabric->remote(region), {{0, 5000, 1001}}, {}});
  auto all = log.wait_for(2);
  REQUIRE_EQ(all.size(), 2);
  CHECK(all[1].first != std::this_thread::get_id());
  CHECK_EQ(all[1].second, errc::none);
}

TEST_CASE("local_fabric: its end completes what is outstanding") {
  auto log = thread_log{};
  auto fabric = make_local_fabric(make_local_network(), log);
  auto memory = std::vector<std::byte>(4096);
  auto region = fabric->register_memory(memory);
  auto peer = fabric->open_peer("never there");
  for (auto id = uint64_t{1}; id <= 5; ++id)
    fabric->post({id, direction::read, peer, region, fabric->remote(region), {{0, 0, 100}}, {}});
  fabric.reset();
  auto all = log.wait_for(5);
  REQUIRE_EQ(all.size(), 5);
  for (const auto& one : all)
    CHECK_EQ(one.second, errc::peer_lost);
}

TEST_CASE("local_fabric: an address where nobody is loses the transfer, not the process") {
  auto log = thread_log{};
  auto network = make_local_network();
  auto fabric = make_local_fabric(network, log);
  auto memory = std::vector<std::byte>(4096);
  auto region = fabric->register_memory(memory);
  auto peer = fabric->open_peer("gone");
  fabric->connect(peer, "local:999/1");
  fabric->post({1, direction::write, peer, region, fabric->remote(region), {{0, 0, 100}}, {}});
  auto all = log.wait_for(1);
  REQUIRE_EQ(all.size(), 1);
  CHECK_EQ(all[0].second, errc::peer_lost);
  for (auto wrong : {"local:1", "local:/1", "local:1/", "local:1/2x", "tcp:1/2"})
    CHECK_THROWS_AS(fabric->connect(peer, wrong), failure);
}
