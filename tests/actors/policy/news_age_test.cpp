// SPDX-License-Identifier: Apache-2.0
#include "actors/policy/news_age.hpp"
#include "tests/actors/policy/policy_fixture.hpp"
#include "tests/support/testing.hpp"

using namespace perigee;
using perigee::testing::policy_fixture;

namespace {

constexpr auto ms = uint64_t{1'000'000};

/// Places a prompt of a second at an idle instance, looks every 5 ms, and hears of its end so much after the second.
void hear(news_age& it, policy_fixture& f, uint64_t late_ns) {
  auto& load = f.loads.front();
  it.look(f.now_ns, f.view());
  it.placed(f.now_ns, load, 1000 * ms);
  load.queued = 1;
  for (auto passed = uint64_t{0}; passed < 1000 * ms + late_ns; passed += 5 * ms) {
    it.look(f.now_ns, f.view());
    f.now_ns += 5 * ms;
  }
  load.queued = 0;
  it.look(f.now_ns, f.view());
}

} // namespace

TEST_CASE("news_age: nothing is late where the end is heard of when it was predicted, or sooner") {
  auto f = policy_fixture{};
  f.prefill(0);
  auto it = news_age{};
  for (auto late : {0, 10, 0, 30, 0})
    hear(it, f, late * ms);
  CHECK_EQ(it.ns(), 0);
}

TEST_CASE("news_age: half a second is learned in a few prompts, and unlearned") {
  auto f = policy_fixture{};
  f.prefill(0);
  auto it = news_age{};
  for (auto i = 0; i < 20; ++i)
    hear(it, f, 500 * ms);
  CHECK(it.ns() > 400 * ms);
  CHECK(it.ns() <= 520 * ms);
  for (auto i = 0; i < 20; ++i)
    hear(it, f, 0);
  CHECK(it.ns() < 50 * ms);
}

TEST_CASE("news_age: who was not looked at for long proves nothing") {
  auto f = policy_fixture{};
  auto& load = f.prefill(0);
  auto it = news_age{};
  for (auto i = 0; i < 20; ++i) {
    it.look(f.now_ns, f.view());
    it.placed(f.now_ns, load, 1000 * ms);
    load.queued = 1;
    f.now_ns += 60'000 * ms; // The next request comes a minute later: the end may have been known for long.
    load.queued = 0;
    it.look(f.now_ns, f.view());
  }
  CHECK_EQ(it.ns(), 0);
}

TEST_CASE("news_age: what was placed behind it meanwhile is told apart") {
  auto f = policy_fixture{};
  auto& load = f.prefill(0);
  auto it = news_age{};
  it.look(f.now_ns, f.view());
  it.placed(f.now_ns, load, 1000 * ms);
  load.queued = 1;
  f.now_ns += 1100 * ms;
  it.look(f.now_ns, f.view());
  it.placed(f.now_ns, load, 1000 * ms);
  load.queued = 2;
  it.look(f.now_ns, f.view());
  load.queued = 1; // The first is done, which was due 100 ms ago.
  it.look(f.now_ns, f.view());
  CHECK_EQ(it.ns(), 40 * ms);
}
