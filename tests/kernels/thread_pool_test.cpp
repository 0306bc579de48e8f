// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/core_share.hpp"
#include "kernels/cpu/piece_share.hpp"
#include "kernels/cpu/thread_pool.hpp"
#include "tests/support/testing.hpp"

#include <algorithm>
#include <atomic>
#include <memory>
#include <vector>

using namespace perigee;
using namespace perigee::kernels::cpu;

TEST_CASE("thread_pool: more threads than it can count are not started") {
  CHECK_EQ(thread_pool{0}.threads(), 1);
  CHECK_EQ(thread_pool{300}.threads(), 255);
}

TEST_CASE("piece_share: a thread takes its own run in order, then the rest of the others, half by half") {
  auto share = piece_share{2};
  share.deal(8);
  auto taken = std::vector<uint32_t>{};
  for (auto thread : {0, 1, 0, 1, 0, 0, 0, 0})
    taken.push_back(share.take(static_cast<uint32_t>(thread)));
  CHECK(taken == std::vector<uint32_t>{0, 4, 1, 5, 2, 3, 7, 6});
  share.deal(3); // again, with a thread that does nothing
  for (auto piece : {1u, 2u, 0u})
    CHECK_EQ(share.take(1), piece);
}

TEST_CASE("piece_share: every piece is taken once, however many threads take how many") {
  for (auto threads : {1u, 2u, 3u, 7u}) {
    auto pool = thread_pool{threads};
    auto share = piece_share{pool.threads()};
    for (auto pieces = 1u; pieces < 300; pieces += 7) {
      auto times = std::vector<std::atomic<uint32_t>>(pieces);
      share.deal(pieces);
      pool.run(pieces, [&](uint32_t, uint32_t thread) { ++times[share.take(thread)]; });
      REQUIRE(std::ranges::all_of(times, [](const auto& count) { return count == 1; }));
    }
  }
}

TEST_CASE("core_share: one that computes alone has all cores, several divide them, and nobody has none") {
  auto share = core_share{5};
  CHECK_EQ(share.each(), 5);
  auto one = core_share::turn{&share};
  CHECK_EQ(share.each(), 5);
  {
    auto two = core_share::turn{&share};
    CHECK_EQ(share.each(), 2);
    core_share::turn more[] = {core_share::turn{&share}, core_share::turn{&share}, core_share::turn{&share},
                               core_share::turn{&share}};
    CHECK_EQ(share.each(), 1);
  }
  CHECK_EQ(share.each(), 5);
}

TEST_CASE("thread_pool: no more threads work than the share of the cores allows, and all tasks are done") {
  auto share = core_share{4};
  auto pool = thread_pool{4, &share};
  auto one = core_share::turn{&share};
  for (auto round = 0u; round < 1000; ++round) {
    auto others = std::vector<std::unique_ptr<core_share::turn>>(round % 4);
    for (auto& other : others)
      other = std::make_unique<core_share::turn>(&share);
    auto allowed = share.each();
    auto done = std::atomic<uint32_t>{0};
    auto strange = std::atomic<uint32_t>{0};
    pool.run(40, [&](uint32_t, uint32_t thread) {
      ++done;
      strange += thread >= allowed ? 1 : 0;
    });
    REQUIRE_EQ(done, 40);
    REQUIRE_EQ(strange, 0);
  }
}

TEST_CASE("thread_pool: helpers stay on the processor that they are bound to") {
  auto all = allowed_processors();
  REQUIRE_FALSE(all.empty());
  auto pool = thread_pool{3, nullptr, {all.front(), all.back()}};
  auto wrong = std::atomic<uint32_t>{0};
  for (auto round = 0u; round < 200; ++round)
    pool.run(30, [&](uint32_t, uint32_t thread) {
      auto mine = allowed_processors();
      if (thread > 0)
        wrong += mine != std::vector{thread == 1 ? all.back() : all.front()} ? 1 : 0;
    });
  CHECK_EQ(wrong, 0);
  CHECK_EQ(allowed_processors(), all); // the caller binds itself
}

TEST_CASE("thread_pool: every task runs once, on a thread of the pool, in many loops one after the other") {
  for (auto threads : {1u, 2u, 5u}) {
    auto pool = thread_pool{threads};
    for (auto round = 0u; round < 2000; ++round) {
      auto tasks = round % 23;
      auto runs = std::vector<std::atomic<uint32_t>>(tasks);
      auto strange = std::atomic<uint32_t>{0};
      pool.run(tasks, [&](uint32_t task, uint32_t thread) {
        ++runs[task];
        strange += thread >= threads ? 1 : 0;
      });
      for (const auto& count : runs)
        REQUIRE_EQ(count, 1);
      REQUIRE_EQ(strange, 0);
    }
  }
}
