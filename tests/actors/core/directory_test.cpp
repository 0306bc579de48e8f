// SPDX-License-Identifier: Apache-2.0
#include "actors/core/directory.hpp"
#include "tests/support/testing.hpp"

using namespace perigee;

TEST_CASE("directory: only the newest incarnation of a place is known") {
  auto known = directory{};
  auto old_one = address{role::shard, 1, 0, 7};
  auto new_one = address{role::shard, 1, 0, 9};
  CHECK(known.up({new_one, {}}));
  CHECK_FALSE(known.up({old_one, {}}));
  CHECK_EQ(known.current(role::shard, 1), new_one);
  CHECK_FALSE(known.alive(old_one));
  CHECK_FALSE(known.down({old_one}));
  CHECK(known.alive(new_one));
  CHECK(known.down({new_one}));
  CHECK_FALSE(known.current(role::shard, 1).has_value());
}

TEST_CASE("directory: actors of one role are visited by index") {
  auto known = directory{};
  for (auto index : {4u, 0u, 2u})
    known.up({address{role::decode, index, 0, 1}, {}});
  known.up({address{role::prefill, 1, 0, 1}, {}});
  auto seen = std::vector<uint32_t>{};
  known.each(role::decode, [&](const address& who) { seen.push_back(who.index); });
  CHECK_EQ(seen, std::vector<uint32_t>{0, 2, 4});
}

TEST_CASE("directory: a place that no cluster has costs no memory") {
  auto known = directory{};
  CHECK_FALSE(known.up({address{role::decode, UINT32_MAX, 0, 1}, {}}));
  CHECK_FALSE(known.alive(address{role::decode, UINT32_MAX, 0, 1}));
  CHECK_FALSE(known.current(role::decode, UINT32_MAX).has_value());
  CHECK_FALSE(known.down({address{role::decode, 5, 0, 1}}));
}
