// SPDX-License-Identifier: Apache-2.0
#include "actors/policy/decode_ports.hpp"
#include "tests/actors/policy/policy_fixture.hpp"
#include "tests/support/testing.hpp"

using namespace perigee;
using perigee::testing::policy_fixture;

namespace {

/// Decode instance 0 has much reserved, 1 nothing. The KV of a prompt takes 20 ms.
struct two_decodes {
  two_decodes() {
    f.decode(0, 100'000);
    f.decode(1, 0);
  }
  std::optional<uint32_t> choose(uint64_t ttft_ms) const {
    return ports.choose(f.query({}), f.view(), ttft_ms * 1'000'000, [](uint32_t) { return true; });
  }
  void placed(uint32_t index, int requests) {
    for (auto i = 0; i < requests; ++i)
      ports.placed(f.query({}), index);
  }

  policy_fixture f;
  decode_ports ports;
};

} // namespace

TEST_CASE("decode_ports: the instance with the fewest reserved tokens is chosen, of those that may be") {
  auto it = two_decodes{};
  CHECK_EQ(it.choose(10), 1);
  CHECK_EQ(it.ports.choose(it.f.query({}), it.f.view(), 0, [](uint32_t index) { return index != 1; }), 0);
  auto full = it.f.query({});
  full.decodes.clear();
  CHECK_FALSE(it.ports.choose(full, it.f.view(), 0, [](uint32_t) { return true; }));
}

TEST_CASE("decode_ports: not one that is still to take in what came before, unless the prefill takes as long") {
  auto it = two_decodes{};
  it.placed(1, 10);
  CHECK_EQ(it.choose(100), 0);
  CHECK_EQ(it.choose(200), 1);
  it.f.now_ns += policy_fixture::second / 10;
  CHECK_EQ(it.choose(100), 1);
}

TEST_CASE("decode_ports: the load is how many ports are kept busy, and is forgotten") {
  auto it = two_decodes{};
  for (auto i = 0; i < 3000; ++i) { // A minute of 50 requests a second, of 20 ms each: one port.
    it.f.now_ns += policy_fixture::second / 50;
    it.placed(i % 2, 1);
  }
  CHECK(it.ports.load(it.f.now_ns) > 0.95);
  CHECK(it.ports.load(it.f.now_ns) < 1.05);
  CHECK(it.ports.load(it.f.now_ns + 100 * policy_fixture::second) < 0.1);
}

TEST_CASE("decode_ports: where all are busy the one that is done first is chosen") {
  auto it = two_decodes{};
  it.placed(1, 10);
  it.placed(0, 11);
  CHECK_EQ(it.choose(10), 1);
  it.placed(1, 2);
  CHECK_EQ(it.choose(10), 0);
}
