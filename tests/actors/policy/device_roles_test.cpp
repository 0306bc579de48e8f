// SPDX-License-Identifier: Apache-2.0
#include "actors/policy/device_roles.hpp"
#include "tests/actors/policy/policy_fixture.hpp"
#include "tests/support/testing.hpp"

using namespace perigee;
using perigee::testing::policy_fixture;

namespace {

constexpr auto second = policy_fixture::second;

/// Devices 0 and 1 begin as prefill instances, 2 and 3 as decode instances. A step takes 20 ms and a microsecond for
/// each token; 100 ms are promised, and 65 may be taken. So a device turns to decoding above 45,000 tokens for each
/// decode instance, and to prompts if the others then have at most 37,000.
struct devices {
  devices() {
    for (auto i = 0u; i < 4; ++i) {
      f.prefill(i).twin = i + 1;
      f.loads.back().spare = i >= 2;
    }
    for (auto i = 0u; i < 4; ++i) {
      f.decode(i).twin = i + 1;
      f.loads.back().spare = i < 2;
    }
    decode(2, 30'000);
    decode(3, 30'000);
  }

  instance_load& prefill(uint32_t device) {
    return f.loads[device];
  }
  void decode(uint32_t device, uint64_t tokens) {
    f.loads[4 + device].tokens = tokens;
    f.loads[4 + device].requests = tokens > 0;
  }

  void update() {
    f.now_ns += second;
    auto query = f.query({});
    query.slo_tbt_ns = second / 10;
    query.step = {0.02, 0, 1e-6};
    query.held = held;
    roles.update(query, f.view(), limits, ports);
  }
  /// Of each device: P or D, - where it takes nothing new.
  std::string now() {
    update();
    auto text = std::string{};
    for (auto i = 0u; i < 4; ++i) {
      CHECK_FALSE((roles.may_prefill(i) && roles.may_decode(i)));
      text += roles.may_prefill(i) ? 'P' : roles.may_decode(i) ? 'D' : '-';
    }
    return text;
  }

  policy_fixture f;
  device_roles roles;
  device_roles::shares limits{0.65, 0.65};
  uint32_t held = 0;
  double ports = 0;
};

} // namespace

TEST_CASE("device_roles: an instance without a twin is always used") {
  auto it = devices{};
  for (auto& load : it.f.loads)
    load.twin = 0;
  it.update();
  CHECK(it.roles.may_prefill(3));
  CHECK(it.roles.may_decode(0));
}

TEST_CASE("device_roles: devices begin in the role that was configured, or in the one that their work shows") {
  auto it = devices{};
  CHECK_EQ(it.now(), "PPDD");
  auto later = devices{};
  later.decode(0, 40'000);
  later.decode(2, 0);
  later.prefill(2).queued = 1;
  CHECK_EQ(later.now(), "DPPD");
}

TEST_CASE(
  "device_roles: when steps take too long the prefill instance that is free first turns to decoding, once it is done") {
  auto it = devices{};
  CHECK_EQ(it.now(), "PPDD");
  it.prefill(0).queued = 1;
  it.prefill(0).free_at_ns = it.f.now_ns + 9 * second;
  it.prefill(1).queued = 1;
  it.prefill(1).free_at_ns = it.f.now_ns + 5 * second;
  it.decode(2, 60'000);
  CHECK_EQ(it.now(), "PPDD"); // 45,000 each
  it.decode(2, 60'002);
  CHECK_EQ(it.now(), "P-DD");
  CHECK_EQ(it.now(), "P-DD"); // One at a time.
  it.prefill(1).queued = 0;
  CHECK_EQ(it.now(), "PDDD");
}

TEST_CASE("device_roles: the last device that computes prompts stays one") {
  auto it = devices{};
  it.decode(2, 300'000);
  for (auto i = 0; i < 5; ++i)
    it.update();
  CHECK_EQ(it.now(), "DPDD");
}

TEST_CASE(
  "device_roles: where the others suffice, the decode instance with least to do is drained and turns to prompts") {
  auto it = devices{};
  it.held = 2;
  CHECK_EQ(it.now(), "PPDD");
  it.decode(2, 20'000);
  it.decode(3, 17'001);
  CHECK_EQ(it.now(), "PPDD"); // 37,001 would be too many for one
  it.decode(3, 17'000);
  CHECK_EQ(it.now(), "PPD-");
  it.decode(3, 1'000);
  CHECK_EQ(it.now(), "PPD-");
  it.decode(3, 0);
  CHECK_EQ(it.now(), "PPDP");
  it.decode(2, 0);
  CHECK_EQ(it.now(), "PPDP"); // Somebody has to decode.
}

TEST_CASE("device_roles: where no prompt waits no decode instance turns to prompts, however little it has to do") {
  auto it = devices{};
  it.decode(2, 1'000);
  it.decode(3, 0);
  for (auto i = 0; i < 30; ++i)
    CHECK_EQ(it.now(), "PPDD");
  it.held = 2;
  for (auto i = 0; i < 10; ++i)
    it.update();
  CHECK_EQ(it.now(), "PPDP");
}

TEST_CASE("device_roles: prompts that should be computed by now do not press, however late the news of them is") {
  auto it = devices{};
  it.decode(2, 1'000);
  it.decode(3, 0);
  it.prefill(0).queued = it.prefill(1).queued = 3;
  for (auto i = 0; i < 30; ++i)
    CHECK_EQ(it.now(), "PPDD");
  it.prefill(0).free_at_ns = it.prefill(1).free_at_ns = it.f.now_ns + 1000 * second;
  for (auto i = 0; i < 10; ++i)
    it.update();
  CHECK_EQ(it.now(), "PPDP");
}

TEST_CASE("device_roles: what still drains is taken back first when load returns") {
  auto it = devices{};
  it.held = 2;
  it.decode(2, 20'000);
  it.decode(3, 10'000);
  CHECK_EQ(it.now(), "PPD-");
  it.decode(2, 45'001);
  CHECK_EQ(it.now(), "PPDD");
}

TEST_CASE("device_roles: decode memory that fills up counts like slow steps") {
  auto it = devices{};
  for (auto& load : it.f.loads)
    load.tokens_capacity = 40'000;
  it.decode(2, 35'000);
  it.decode(3, 32'000);
  CHECK_EQ(it.now(), "PPDD"); // 84 %
  it.decode(3, 34'000);
  CHECK_EQ(it.now(), "DPDD"); // Above 85 %, and device 0 had nothing to finish.
}

TEST_CASE("device_roles: load that doubles and halves within the margin moves nothing to and fro") {
  auto it = devices{};
  auto first = it.now();
  for (auto i = 0; i < 20; ++i) {
    it.decode(2, i % 2 == 0 ? 20'000 : 40'000);
    it.decode(3, i % 2 == 0 ? 20'000 : 40'000);
    CHECK_EQ(it.now(), first);
  }
}

TEST_CASE("device_roles: where no prompt waits steps keep a wide margin, where many wait a smaller one") {
  auto it = devices{};
  it.limits = {0.45, 0.65};
  it.held = 4; // Two for each device that computes.
  it.decode(2, 40'000);
  it.decode(3, 40'000);
  for (auto i = 0; i < 30; ++i)
    CHECK_EQ(it.now(), "PPDD"); // 60 ms
  it.held = 0;
  for (auto i = 0; i < 60; ++i)
    it.update();
  CHECK_EQ(it.now(), "DPDD"); // Above 45 ms, and a prefill instance had nothing to do.
}

TEST_CASE("device_roles: of what is still to be computed only a part counts, as others end meanwhile") {
  auto it = devices{};
  it.decode(2, 60'000);
  it.decode(3, 60'000);
  it.prefill(0).queued = it.prefill(0).requests = 1;
  it.prefill(0).tokens = 45'000;
  CHECK_EQ(it.now(), "PPDD"); // 120,000 - 0.7 * 45,000 for two
  it.prefill(0).tokens = 40'000;
  CHECK_EQ(it.now(), "-PDD"); // 92,000 is above 45,000 each.
}

TEST_CASE("device_roles: decode instances are as many as their ports need for what is handed over") {
  auto it = devices{};
  it.held = 2;
  it.decode(2, 1'000);
  it.decode(3, 1'000);
  it.ports = 0.31; // Of one port: too much for one that is left.
  CHECK_EQ(it.now(), "PPDD");
  it.ports = 1.01; // More than half of the time for each of two.
  CHECK_EQ(it.now(), "DPDD");
  it.ports = 0;
  CHECK_NE(it.now(), "DPDD");
}
