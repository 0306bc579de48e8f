// SPDX-License-Identifier: Apache-2.0
#include "actors/policy/prefill_pressure.hpp"
#include "tests/support/testing.hpp"

using namespace perigee;

namespace {

constexpr auto second = uint64_t{1'000'000'000};

/// After `seconds` more, looked at ten times in each, with so many requests at ten devices.
void pass(prefill_pressure& it, uint64_t& now_ns, uint64_t seconds, uint64_t requests) {
  for (auto i = uint64_t{0}; i < 10 * seconds; ++i)
    it.update(now_ns += second / 10, requests, 10);
}

} // namespace

TEST_CASE("prefill_pressure: none where devices are mostly idle, full where each has one and others wait") {
  auto it = prefill_pressure{};
  auto now_ns = 1000 * second;
  pass(it, now_ns, 60, 3);
  CHECK_EQ(it.value(), 0);
  pass(it, now_ns, 60, 12);
  CHECK_EQ(it.value(), 1);
  pass(it, now_ns, 60, 5);
  CHECK(it.value() > 0.2);
  CHECK(it.value() < 0.4);
}

TEST_CASE("prefill_pressure: a burst of a second changes little, where there are no devices nothing is divided by") {
  auto it = prefill_pressure{};
  auto now_ns = 1000 * second;
  pass(it, now_ns, 60, 3);
  pass(it, now_ns, 1, 8);
  CHECK(it.value() < 0.1);
  it.update(now_ns + 3600 * second, 2, 0);
  CHECK_EQ(it.value(), 1);
}
