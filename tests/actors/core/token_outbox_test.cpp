// SPDX-License-Identifier: Apache-2.0
#include "actors/core/token_outbox.hpp"
#include "tests/support/testing.hpp"

using namespace perigee;

namespace {

const auto self = address{role::decode, 0, 0, 1};
const auto session = address{role::session, 0, 0, 1};
const auto id = ticket{{1, 1}, 0};
constexpr auto never = UINT64_MAX; // As instances say it.

} // namespace

TEST_CASE("token_outbox: tokens go out once, and again only when nobody acknowledged them in time") {
  auto out = token_outbox{};
  auto& one = out.open(id, 0, session, 3, 0);
  out.push(one, 70);
  auto first = out.collect(self, 0, never);
  REQUIRE_EQ(first.size(), 1);
  CHECK_EQ(first[0].second.updates[0].first, 3);
  CHECK(out.collect(self, 5, never).empty());
  out.push(one, 71);
  CHECK_EQ(out.collect(self, 10, never)[0].second.updates[0].tokens, std::vector<token_id>{71});
  out.push(out.open(id, 1, session, 0, 0), 90);
  CHECK_EQ(out.collect(self, 11, never)[0].second.updates.size(), 1); // Not the other choice's again.
  out.on({id, 1, 1, true}, 12);
  auto again = out.collect(self, 500, 100);
  CHECK_EQ(again[0].second.updates[0].tokens, std::vector<token_id>{70, 71});
  CHECK_FALSE(out.on({id, 0, 5, false}, 500));
  CHECK(out.collect(self, 5000, 100).empty());
}

TEST_CASE("token_outbox: a finish is repeated until it is acknowledged, then the choice is forgotten") {
  auto out = token_outbox{};
  out.push(out.open(id, 0, session, 0, 0), 1);
  out.finish(id, 0, finish_reason::stop);
  out.finish(id, 0, finish_reason::failed); // The first reason stays.
  CHECK_EQ(out.collect(self, 0, never)[0].second.updates[0].finish, finish_reason::stop);
  out.on({id, 0, 1, false}, 1); // The tokens came, the finish has not been taken yet.
  CHECK_EQ(out.collect(self, 500, 100)[0].second.updates[0].finish, finish_reason::stop);
  CHECK_FALSE(out.on({id, 0, 1, true}, 500));
  CHECK_EQ(out.size(), 0);
}

TEST_CASE("token_outbox: a session that wants no more ends a choice that goes on") {
  auto out = token_outbox{};
  out.push(out.open(id, 0, session, 0, 0), 1);
  CHECK(out.on({id, 0, UINT32_MAX, true}, 0));
  CHECK_FALSE(out.on({id, 0, UINT32_MAX, true}, 0));
}

TEST_CASE("token_outbox: what is forgotten before it was sent leaves the others as they are") {
  auto out = token_outbox{};
  auto other = ticket{{1, 2}, 0};
  auto gone = address{role::session, 1, 0, 1};
  out.push(out.open(id, 0, session, 0, 0), 1);
  out.push(out.open(id, 1, session, 0, 0), 2);
  out.push(out.open(other, 0, gone, 0, 0), 3);
  out.push(out.open(other, 1, session, 0, 0), 4);
  out.on({id, 0, UINT32_MAX, true}, 0);
  out.drop_session(gone);
  auto batches = out.collect(self, 0, never);
  REQUIRE_EQ(batches.size(), 1);
  REQUIRE_EQ(batches[0].second.updates.size(), 2); // In the order in which they came.
  CHECK_EQ(batches[0].second.updates[0].choice, 1);
  CHECK_EQ(batches[0].second.updates[0].id, id);
  CHECK_EQ(batches[0].second.updates[1].id, other);
  out.drop(other);
  out.drop_unfinished(id);
  CHECK_EQ(out.size(), 0);
  CHECK(out.collect(self, 1000, 100).empty());
}
