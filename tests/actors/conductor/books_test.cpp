// SPDX-License-Identifier: Apache-2.0
#include "actors/conductor/books.hpp"
#include "tests/support/testing.hpp"

#include <deque>
#include <random>
#include <utility>

using namespace perigee;

namespace {

const auto p = address{role::prefill, 0, 0, 1};
const auto d = address{role::decode, 0, 1, 1};

placement make(uint64_t number, uint64_t prefill_ns = 100) {
  auto entry = placement{};
  entry.number = number;
  entry.id = {{7, number}, 0};
  entry.prefill = p;
  entry.decode = d;
  entry.prefill_open = entry.decode_open = true;
  entry.times.takes_ns = prefill_ns;
  entry.prompt_tokens = 10;
  entry.uncached_tokens = 8;
  entry.decode_tokens = 30;
  return entry;
}

struct fixture {
  fixture() {
    ledger.member_up(p);
    ledger.member_up(d);
  }
  const books::member& prefill() {
    return *ledger.find(role::prefill, 0);
  }
  const books::member& decode() {
    return *ledger.find(role::decode, 0);
  }
  prefix_index blocks;
  books ledger{blocks};
};

} // namespace

TEST_CASE("books: an instance is free when all that is placed there is computed, from now on if one just was") {
  auto f = fixture{};
  auto& first = f.ledger.open(make(1), 1000);
  auto& second = f.ledger.open(make(2, 300), 1000);
  CHECK_EQ(f.prefill().free_at_ns, 1400);
  CHECK_EQ(f.prefill().queued_tokens, 16);
  f.ledger.computed(first, 1150); // Slower than predicted.
  CHECK_EQ(f.prefill().free_at_ns, 1450);
  CHECK_EQ(f.prefill().queued, 1);
  f.ledger.computed(first, 1160); // Said twice.
  CHECK_EQ(f.prefill().free_at_ns, 1450);
  f.ledger.close_prefill(first, 1200);
  CHECK_EQ(f.prefill().free_at_ns, 1450);
  f.ledger.close_prefill(second, 1250); // Cancelled: its time is given back.
  CHECK_EQ(f.prefill().free_at_ns, 1250);
  CHECK_EQ(f.prefill().queued, 0);
  CHECK_EQ(f.prefill().queued_tokens, 0);
}

TEST_CASE("books: what finished before anybody told that it was computed leaves the queue, and its time has passed") {
  auto f = fixture{};
  auto& first = f.ledger.open(make(1), 1000);
  f.ledger.open(make(2, 300), 1000);
  f.ledger.finished(first, 1150);
  CHECK_EQ(f.prefill().free_at_ns, 1400); // As predicted, and not 100 earlier.
  CHECK_EQ(f.prefill().queued, 1);
  CHECK_EQ(f.decode().running, 1);
  f.ledger.computed(first, 1160); // The late news say nothing new.
  f.ledger.close_prefill(first, 1160);
  CHECK_EQ(f.prefill().free_at_ns, 1400);
  CHECK_EQ(f.decode().running, 1);
  auto& third = f.ledger.open(make(3, 50), 1600); // The second is late; this one comes behind it.
  f.ledger.finished(*f.ledger.placement_of({{7, 2}, 0}), 1610);
  CHECK_EQ(f.prefill().free_at_ns, 1650);
  f.ledger.finished(third, 1620);
  CHECK_EQ(f.prefill().free_at_ns, 1620);
}

TEST_CASE("books: late news of a prompt does not say that another is computed which was given in between") {
  constexpr auto late_ns = uint64_t{5'000'000};
  auto f = fixture{};
  auto now_ns = uint64_t{10 * late_ns};
  for (auto number = uint64_t{1}; number < 20; ++number, now_ns += 2 * late_ns) { // It learns how late news is.
    auto& told = f.ledger.open(make(number), now_ns);
    f.ledger.computed(told, now_ns + late_ns);
    f.ledger.close_prefill(told, now_ns + late_ns);
  }
  REQUIRE_GE(f.ledger.news_age_ns(), late_ns / 2);
  auto& first = f.ledger.open(make(20), now_ns);
  f.ledger.open(make(21), now_ns + late_ns - 10);
  f.ledger.computed(first, now_ns + late_ns);
  CHECK_EQ(f.prefill().queued, 1);
  CHECK_EQ(f.prefill().free_at_ns, now_ns + late_ns + 90);
}

namespace {

constexpr auto ms = uint64_t{1'000'000};

/// One instance that computes prompts of 10 ms one after the other, a new one every `every_ns`; each is reported `late_ns`
/// after its end. What the books take for the age of news afterwards.
uint64_t age_learned(uint64_t every_ns, uint64_t late_ns) {
  auto f = fixture{};
  auto news = std::deque<std::pair<uint64_t, uint64_t>>{}; // when, and of which prompt
  auto free_ns = uint64_t{0};
  for (auto number = uint64_t{1}; number <= 300; ++number) {
    auto now_ns = 1000 * ms + number * every_ns;
    for (; !news.empty() && news.front().first <= now_ns; news.pop_front()) {
      auto& told = *f.ledger.placement_of({{7, news.front().second}, 0});
      f.ledger.computed(told, news.front().first);
      f.ledger.close_prefill(told, news.front().first);
    }
    f.ledger.open(make(number, 10 * ms), now_ns);
    free_ns = std::max(free_ns, now_ns) + 10 * ms;
    news.emplace_back(free_ns + late_ns, number);
  }
  return f.ledger.news_age_ns();
}

} // namespace

TEST_CASE("books: how late news is, is learned also of an instance that always has something that it has not reported") {
  auto age_ns = age_learned(30 * ms, 100 * ms);
  CHECK_GE(age_ns, 98 * ms);
  CHECK_LE(age_ns, 102 * ms);
  CHECK_LE(age_learned(30 * ms, 0), 2 * ms);
}

TEST_CASE("books: a prompt that waited for another does not make the news of it late") {
  CHECK_LE(age_learned(9 * ms, 0), 2 * ms);
  CHECK_LE(age_learned(5 * ms, 0), 2 * ms);
}

TEST_CASE("books: a decode instance runs what is computed, the rest is coming") {
  auto f = fixture{};
  auto& first = f.ledger.open(make(1), 0);
  auto& second = f.ledger.open(make(2), 0);
  CHECK_EQ(f.decode().rows, 2);
  CHECK_EQ(f.decode().running, 0);
  f.ledger.computed(first, 10);
  CHECK_EQ(f.decode().running, 1);
  CHECK_EQ(f.decode().running_tokens, 30);
  f.ledger.close_prefill(first, 20);
  f.ledger.close_prefill(second, 20);
  CHECK_EQ(f.decode().running, 2);
  f.ledger.close_decode(first);
  CHECK_EQ(f.decode().running, 1);
  CHECK_EQ(f.decode().tokens, 30);
}

TEST_CASE("books: a cancel is due at its earliest time, and then again and again") {
  auto f = fixture{};
  auto& entry = f.ledger.open(make(1), 0);
  f.ledger.cancel_at(entry, 100);
  f.ledger.cancel_at(entry, 200);
  CHECK(f.ledger.due_cancels(99, 50).empty());
  CHECK_EQ(f.ledger.due_cancels(100, 50).size(), 1);
  CHECK(f.ledger.due_cancels(149, 50).empty());
  CHECK_EQ(f.ledger.due_cancels(150, 50).size(), 1);
  f.ledger.close_prefill(entry, 160);
  f.ledger.close_decode(entry);
  f.ledger.drop_if_closed(entry);
  CHECK(f.ledger.placements().empty());
  CHECK(f.ledger.due_cancels(1000, 50).empty());
}

TEST_CASE("books: whatever happens in whatever order, all reservations come back") {
  for (uint64_t seed = 1; seed <= testing::seeds(50); ++seed) {
    CAPTURE(seed);
    auto random = std::mt19937_64{seed};
    auto f = fixture{};
    auto now = uint64_t{1000};
    for (auto step = uint64_t{1}; step < 300; ++step) {
      now += random() % 50;
      if (random() % 2 == 0)
        f.ledger.open(make(step, random() % 200), now);
      auto open = std::vector<placement*>{};
      for (const auto& [number, entry] : f.ledger.placements())
        open.push_back(f.ledger.placement_of(entry.id));
      if (open.empty())
        continue;
      auto& entry = *open[random() % open.size()];
      switch (random() % 5) {
      case 0: f.ledger.computed(entry, now); break;
      case 3: f.ledger.finished(entry, now); break;
      case 1:
        if (entry.prefill_open)
          f.ledger.close_prefill(entry, now);
        break;
      case 2:
        if (entry.decode_open)
          f.ledger.close_decode(entry);
        break;
      default: f.ledger.move_decode(entry, d);
      }
      f.ledger.drop_if_closed(entry);
      CHECK(f.prefill().queued_ns + now >= f.prefill().free_at_ns);
    }
    f.ledger.member_down(d, now);
    auto left = std::vector<placement*>{};
    for (const auto& [number, entry] : f.ledger.placements())
      left.push_back(f.ledger.placement_of(entry.id));
    CHECK_EQ(f.prefill().open, left.size());
    for (auto* entry : left) {
      f.ledger.close_prefill(*entry, now);
      f.ledger.drop_if_closed(*entry);
    }
    CHECK_EQ(f.prefill().open, 0);
    CHECK(f.ledger.placements().empty());
    CHECK_EQ(f.prefill().queued, 0);
    CHECK_EQ(f.prefill().queued_ns, 0);
    CHECK_EQ(f.prefill().tokens, 0);
  }
}
