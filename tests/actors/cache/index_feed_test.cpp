// SPDX-License-Identifier: Apache-2.0
#include "actors/cache/index_feed.hpp"
#include "tests/support/testing.hpp"

#include <random>
#include <set>

using namespace perigee;

namespace {

constexpr auto self = address{role::shard, 0, 0, 1};
constexpr auto conductor = address{role::conductor, 0, 9, 1};
constexpr uint64_t retry_ns = 100;

block_key key(uint64_t n) {
  return {n, n};
}

void put(block_index& index, uint64_t n) {
  auto slot = index.take().value();
  index.store(key(n), slot);
  index.unpin(slot);
}

void pass_on(block_index& index, index_feed& feed) {
  for (const auto& change : index.take_changes())
    feed.record(change);
}

/// What a Conductor would do with the events: the protocol of store_messages.hpp.
struct reader {
  uint64_t epoch = 0;
  uint64_t next = 0;
  std::set<block_key> keys;

  index_ack read(const index_events& batch) {
    if (batch.epoch > epoch && batch.sequence == 0) {
      epoch = batch.epoch;
      next = 0;
      keys.clear();
    }
    if (batch.epoch == epoch && batch.sequence <= next)
      for (auto i = next - batch.sequence; i < batch.events.size(); ++i, ++next) {
        if (batch.events[i].stored)
          keys.insert(batch.events[i].key);
        else
          keys.erase(batch.events[i].key);
      }
    auto lost = batch.epoch > epoch || (batch.epoch == epoch && batch.sequence > next);
    return {conductor, batch.term, batch.epoch, next, lost};
  }
};

std::set<block_key> content(const block_index& index) {
  auto out = std::set<block_key>{};
  for (auto at = index.next(std::nullopt); at; at = index.next(at))
    out.insert(*at);
  return out;
}

} // namespace

TEST_CASE("index_feed: tells nothing before it knows a Conductor, then everything in batches") {
  auto index = block_index{8};
  auto feed = index_feed{self, retry_ns, {.batch_max = 2}};
  for (uint64_t n = 1; n <= 3; ++n)
    put(index, n);
  pass_on(index, feed);
  CHECK_FALSE(feed.poll(index, 0).has_value());
  feed.begin(4);
  auto first = feed.poll(index, 0).value();
  CHECK_EQ(first.term, 4);
  CHECK_EQ(first.sequence, 0);
  CHECK_EQ(first.events.size(), 2);
  CHECK_FALSE(feed.poll(index, retry_ns - 1).has_value());
  auto again = feed.poll(index, retry_ns).value();
  CHECK_EQ(again.sequence, 0);
  feed.ack({conductor, 4, first.epoch, 2, false});
  auto second = feed.poll(index, retry_ns).value();
  CHECK_EQ(second.sequence, 2);
  CHECK_EQ(second.events.size(), 1);
}

TEST_CASE("index_feed: an empty shard announces its epoch too") {
  auto index = block_index{1};
  auto feed = index_feed{self, retry_ns};
  feed.begin(1);
  auto first = feed.poll(index, 0).value();
  CHECK(first.events.empty());
  feed.ack({conductor, 1, first.epoch, 0, false});
  CHECK_FALSE(feed.poll(index, 10 * retry_ns).has_value());
}

TEST_CASE("index_feed: acknowledgements that come late, twice or for another epoch change nothing") {
  auto index = block_index{8};
  auto feed = index_feed{self, retry_ns, {.batch_max = 1}};
  put(index, 1);
  put(index, 2);
  put(index, 3);
  feed.begin(1);
  auto epoch = feed.poll(index, 0)->epoch;
  feed.ack({conductor, 1, epoch, 1, false});
  CHECK_EQ(feed.poll(index, 0)->sequence, 1);
  feed.ack({conductor, 1, epoch, 2, false});
  CHECK_EQ(feed.poll(index, 0)->sequence, 2);
  feed.ack({conductor, 1, epoch, 1, false});
  feed.ack({conductor, 1, epoch - 1, 3, true});
  feed.ack({conductor, 2, epoch, 3, false});
  auto last = feed.poll(index, retry_ns).value();
  CHECK_EQ(last.sequence, 2);
  CHECK_EQ(last.epoch, epoch);
}

TEST_CASE("index_feed: a resync begins a new epoch once, however often it is asked for") {
  auto index = block_index{8};
  auto feed = index_feed{self, retry_ns};
  put(index, 1);
  feed.begin(1);
  auto epoch = feed.poll(index, 0)->epoch;
  feed.ack({conductor, 1, epoch, 0, true});
  feed.ack({conductor, 1, epoch, 0, true});
  CHECK_EQ(feed.epoch(), epoch + 1);
  CHECK_EQ(feed.poll(index, 0)->sequence, 0);
}

TEST_CASE("index_feed: changes that pile up are replaced by a new snapshot") {
  auto index = block_index{64};
  auto feed = index_feed{self, retry_ns, {.batch_max = 4, .pending_max = 10}};
  feed.begin(1);
  auto out = reader{};
  auto first = feed.poll(index, 0).value();
  for (uint64_t n = 1; n <= 30; ++n) {
    put(index, n);
    pass_on(index, feed);
  }
  CHECK_GT(feed.epoch(), first.epoch);
  for (int i = 0; i < 20; ++i)
    if (auto batch = feed.poll(index, 0))
      feed.ack(out.read(*batch));
  CHECK(out.keys == content(index));
}

TEST_CASE("index_feed: a reader that loses, doubles and reorders ends up with the true content") {
  for (uint64_t seed = 1; seed <= testing::seeds(100); ++seed) {
    CAPTURE(seed);
    auto rng = std::mt19937_64{seed};
    auto index = block_index{40};
    auto feed = index_feed{self, retry_ns, {.batch_max = 5, .pending_max = 30}};
    auto out = reader{};
    auto batches = std::vector<index_events>{};
    auto acks = std::vector<index_ack>{};
    auto now = uint64_t{0};
    feed.begin(1);
    auto exchange = [&](uint32_t loss_percent) {
      now += rng() % retry_ns;
      if (auto batch = feed.poll(index, now))
        batches.insert(batches.end(), rng() % 100 < loss_percent ? 0 : 1 + rng() % 2, *batch);
      if (!batches.empty()) {
        std::swap(batches[rng() % batches.size()], batches.back());
        auto ack = out.read(batches.back());
        batches.pop_back();
        acks.insert(acks.end(), rng() % 100 < loss_percent ? 0 : 1 + rng() % 2, ack);
      }
      if (!acks.empty()) {
        std::swap(acks[rng() % acks.size()], acks.back());
        feed.ack(acks.back());
        acks.pop_back();
      }
    };
    for (int step = 0; step < 400; ++step) {
      auto n = rng() % 100;
      if (!index.find(key(n)))
        put(index, n);
      pass_on(index, feed);
      exchange(20);
      if (rng() % 100 == 0)
        out = reader{}; // the Conductor forgot everything
    }
    for (int i = 0; i < 400; ++i)
      exchange(0);
    REQUIRE(out.keys == content(index));
  }
}
