// SPDX-License-Identifier: Apache-2.0
#include "transport/bench.hpp"

#include "transport/bench_far_pool.hpp"
#include "transport/bench_socket.hpp"
#include "transport/libfabric/libfabric_fabric.hpp"
#include "transport/local/local_fabric.hpp"
#include "transport/pool_memory.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <mutex>

namespace perigee::transport {

namespace {

constexpr auto patience = std::chrono::seconds{60};

/// Counts completions and lets one thread wait for them.
class completion_counter final : public fabric_events {
public:
  void completed(uint64_t, status result, uint64_t) override {
    auto lock = std::lock_guard{mutex_};
    ++count_;
    if (!result.ok() && first_error_.ok())
      first_error_ = std::move(result);
    changed_.notify_one();
  }
  void arrived(peer_id, uint32_t) override {}
  void fenced(peer_id) override {}

  void wait_for(uint64_t count) {
    auto lock = std::unique_lock{mutex_};
    if (!changed_.wait_for(lock, patience, [&] { return count_ >= count; }))
      throw failure{errc::timed_out,
                    fmt::format("{} of {} transfers completed within {} s", count_, count, patience.count())};
    if (!first_error_.ok())
      throw failure{first_error_.code, first_error_.context};
    count_ = 0;
  }

private:
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t count_ = 0; // guarded by mutex_, as is first_error_
  status first_error_;
};

double gigabytes_per_second(uint64_t bytes, const std::function<void()>& work) {
  auto begin = std::chrono::steady_clock::now();
  work();
  return static_cast<double>(bytes) / std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count()
         / 1e9;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void check(const bench_options& options) {
  for (auto bytes : options.sizes)
    if (bytes == 0 || bytes > options.pool_bytes)
      throw failure{errc::invalid_argument,
                    fmt::format("a transfer of {} bytes does not fit the pool of {}; use sizes from 1 to the pool's",
                                bytes, options.pool_bytes)};
  if (options.runs == 0)
    throw failure{errc::invalid_argument, "0 runs measure nothing; use 1 or more"};
}

/// Runs `one` for every piece of `size` bytes that the pool has.
void for_pieces(uint64_t pool_bytes, uint64_t size, const std::function<void(uint64_t)>& one) {
  for (auto at = uint64_t{0}; at + size <= pool_bytes; at += size)
    one(at);
}

/// Measures all sizes: per run the limit, then both directions.
std::vector<bench_row> measure(const bench_options& options, const std::function<void(uint64_t)>& limit,
                               const std::function<void(uint64_t, direction)>& move) {
  auto rows = std::vector<bench_row>{};
  for (auto size : options.sizes) {
    auto bytes = options.pool_bytes / size * size;
    auto limits = std::vector<double>{};
    auto writes = std::vector<double>{};
    auto reads = std::vector<double>{};
    for (auto run = uint32_t{0}; run <= options.runs; ++run) {
      auto rate = gigabytes_per_second(bytes, [&] { limit(size); });
      auto write = gigabytes_per_second(bytes, [&] { move(size, direction::write); });
      auto read = gigabytes_per_second(bytes, [&] { move(size, direction::read); });
      if (run == 0)
        continue; // pages and connections are made
      limits.push_back(rate);
      writes.push_back(write);
      reads.push_back(read);
    }
    rows.push_back({size, median(limits), median(writes), median(reads)});
  }
  return rows;
}

/// Posts one transfer per piece of the pool and waits for all; never more at once than every fabric takes.
void move_pool(fabric& over, completion_counter& done, const bench_options& options, uint64_t size, transfer form) {
  constexpr auto at_once = uint64_t{1024};
  auto posted = uint64_t{0};
  for_pieces(options.pool_bytes, size, [&](uint64_t at) {
    form.id = at;
    form.pieces = {{at, at, size}};
    over.post(form);
    if (++posted == at_once) {
      done.wait_for(posted);
      posted = 0;
    }
  });
  done.wait_for(posted);
}

/// In the other process: takes what the limit's connection brings into the pool, until the control connection ends.
void take_limit(const bench_options& options, stream_socket& control, std::span<std::byte> pool) {
  auto listener = listen_at(options.host);
  control.send_word(port_of(listener));
  auto connection = accept_from(listener);
  for (;;) {
    auto size = control.receive_word();
    for_pieces(options.pool_bytes, size, [&](uint64_t at) { connection.receive(pool.subspan(at, size)); });
    connection.send_word(size);
  }
}

} // namespace

bench_result bench_provider(const bench_options& options) {
  check(options);
  auto far = far_pool{{options.provider, options.host},
                      options.pool_bytes,
                      [&](stream_socket& control, std::span<std::byte> pool) { take_limit(options, control, pool); }};
  auto pool = pool_memory{options.pool_bytes};
  std::memset(pool.bytes().data(), 2, pool.bytes().size());
  auto events = completion_counter{};
  auto own = make_libfabric({.provider = options.provider, .host = options.host}, events);
  auto region = own->register_memory(pool.bytes());
  auto peer = own->open_peer("bench");
  auto remote = far.connect(*own, peer);
  auto& control = far.control();
  auto connection = connect_to(options.host, static_cast<uint16_t>(control.receive_word()));

  auto result = bench_result{own->describe(), "one TCP connection, blocking sockets", {}};
  result.rows = measure(
    options,
    [&](uint64_t size) {
      control.send_word(size);
      for_pieces(options.pool_bytes, size, [&](uint64_t at) { connection.send(pool.bytes().subspan(at, size)); });
      connection.receive_word();
    },
    [&](uint64_t size, direction op) {
      move_pool(*own, events, options, size, {0, op, peer, region, remote, {}, {}});
    });
  return result;
}

bench_result bench_local(const bench_options& options) {
  check(options);
  auto pools = std::array<pool_memory, 2>{pool_memory{options.pool_bytes}, pool_memory{options.pool_bytes}};
  for (auto& pool : pools)
    std::memset(pool.bytes().data(), 1, pool.bytes().size());
  auto events = completion_counter{};
  auto own = make_local_fabric(make_local_network(), events);
  auto from = own->register_memory(pools[0].bytes());
  auto to = own->remote(own->register_memory(pools[1].bytes()));
  auto result = bench_result{own->describe(), "memcpy", {}};
  result.rows = measure(
    options,
    [&](uint64_t size) {
      for_pieces(options.pool_bytes, size,
                 [&](uint64_t at) { std::memcpy(pools[1].bytes().data() + at, pools[0].bytes().data() + at, size); });
    },
    [&](uint64_t size, direction op) {
      move_pool(*own, events, options, size, {0, op, self_peer, from, to, {}, {}});
    });
  return result;
}

} // namespace perigee::transport
