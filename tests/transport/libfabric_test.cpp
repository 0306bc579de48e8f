// SPDX-License-Identifier: Apache-2.0
#include "tests/support/testing.hpp"
#include "transport/bench.hpp"
#include "transport/libfabric/libfabric_fabric.hpp"

#include <condition_variable>
#include <mutex>

using namespace perigee;
using namespace perigee::transport;

namespace {

class counter final : public fabric_events {
public:
  void completed(uint64_t, status result, uint64_t) override {
    auto lock = std::lock_guard{mutex_};
    ++completions;
    failures += result.ok() ? 0 : 1;
    changed_.notify_all();
  }
  void arrived(peer_id, uint32_t) override {
    auto lock = std::lock_guard{mutex_};
    ++arrivals;
    changed_.notify_all();
  }
  void fenced(peer_id) override {}

  bool wait_for(const int& what, int count) {
    auto lock = std::unique_lock{mutex_};
    return changed_.wait_for(lock, std::chrono::seconds{20}, [&] { return what >= count; });
  }

  int completions = 0; // guarded by mutex_ until all that is awaited came, as are the others
  int failures = 0;
  int arrivals = 0;

private:
  std::mutex mutex_;
  std::condition_variable changed_;
};

} // namespace

TEST_CASE("libfabric: a provider that does not exist is named, with what to do") {
  auto events = counter{};
  try {
    make_libfabric({.provider = "carrier-pigeon"}, events);
    FAIL("there is no such provider");
  } catch (const failure& refused) {
    CHECK_EQ(refused.code(), errc::not_found);
    CHECK(std::string{refused.what()}.find("carrier-pigeon") != std::string::npos);
    CHECK(std::string{refused.what()}.find("fi_info") != std::string::npos);
  }
}

TEST_CASE("libfabric: an address of another provider or a damaged one is refused") {
  auto events = counter{};
  auto fabric = make_libfabric({}, events);
  auto peer = fabric->open_peer("b");
  auto address = fabric->local_address(peer);
  CHECK_THROWS_AS(fabric->connect(peer, "shm@" + address.substr(address.find('@') + 1)), failure);
  CHECK_THROWS_AS(fabric->connect(peer, address + "0"), failure);
  CHECK_THROWS_AS(fabric->connect(peer, address + "zz"), failure);
  CHECK_THROWS_AS(fabric->connect(peer, address.substr(0, address.find('@') + 1)), failure);
}

TEST_CASE("libfabric: without an order of writes the immediate waits for its bytes") {
  constexpr auto bytes = size_t{300000};
  for (auto trusted : {false, true}) {
    CAPTURE(trusted);
    auto options =
      libfabric_options{.piece_bytes_max = 4096, .window_bytes = 16384, .window_pieces = 3, .trust_order = trusted};
    auto from = std::vector<std::byte>(bytes, std::byte{1});
    auto to = std::vector<std::byte>(bytes);
    auto a_events = counter{};
    auto b_events = counter{};
    auto a = make_libfabric(options, a_events);
    auto b = make_libfabric(options, b_events);
    CHECK_EQ(a->describe().find("in any order") != std::string::npos, !trusted);
    auto source = a->register_memory(from);
    auto target = b->remote(b->register_memory(to));
    auto there = a->open_peer("b");
    auto back = b->open_peer("a");
    a->connect(there, b->local_address(back));
    b->connect(back, a->local_address(there));
    for (auto id = uint64_t{0}; id < 20; ++id)
      a->post({id,
               direction::write,
               there,
               source,
               target,
               {{id * 15000, id * 15000, 7000}, {id * 15000 + 7000, id * 15000 + 7000, 8000}},
               1});
    REQUIRE(a_events.wait_for(a_events.completions, 20));
    REQUIRE(b_events.wait_for(b_events.arrivals, 20));
    CHECK_EQ(a_events.failures, 0);
    CHECK(from == to);
  }
}

TEST_CASE("libfabric: a peer that takes nothing is lost after its time") {
  auto memory = std::vector<std::byte>(4096);
  auto b_events = counter{};
  auto b = make_libfabric({}, b_events);
  auto address = b->local_address(b->open_peer("a"));
  b.reset(); // nobody is at the address any more
  auto events = counter{};
  auto a = make_libfabric({.connect_ms_max = 50}, events);
  auto region = a->register_memory(memory);
  auto there = a->open_peer("b");
  a->connect(there, address);
  a->post({1, direction::write, there, region, {1, 0, 4096}, {{0, 0, 4096}}, {}});
  REQUIRE(events.wait_for(events.completions, 1));
  CHECK_EQ(events.failures, 1);
}

TEST_CASE("bench: both paths are measured beside their limits") {
  auto options = bench_options{.sizes = {4096, 100000}, .pool_bytes = 1 << 20, .runs = 1};
  for (const auto& result : {bench_provider(options), bench_local(options)}) {
    CHECK(!result.path.empty());
    REQUIRE_EQ(result.rows.size(), 2);
    for (const auto& row : result.rows) {
      CHECK_GT(row.write, 0);
      CHECK_GT(row.read, 0);
      CHECK_GT(row.limit, 0);
    }
  }
  options.sizes = {2 << 20};
  CHECK_THROWS_AS(bench_local(options), failure);
  options.provider = "carrier-pigeon";
  options.sizes = {4096};
  CHECK_THROWS_AS(bench_provider(options), failure);
}
