// SPDX-License-Identifier: Apache-2.0
#include "actors/core/reporter.hpp"
#include "actors/core/tombstones.hpp"
#include "tests/support/testing.hpp"

using namespace perigee;

TEST_CASE("reporter: what ended is in every report until one that carried it is acknowledged") {
  auto conductor = address{role::conductor, 0, 0, 8};
  auto news = reporter{address{role::prefill, 0, 0, 1}, 100};
  CHECK_FALSE(news.due(0));
  CHECK(news.on(conductor_hello{conductor, 8}));
  CHECK(news.next(0).full);
  news.ended({ticket{{1, 1}, 0}, 5, 0});
  CHECK(news.due(1));
  auto first = news.next(1);
  CHECK_EQ(first.ended.size(), 1);
  CHECK_FALSE(first.full);
  news.ended({ticket{{1, 2}, 0}, 5, 0});
  auto second = news.next(2);
  CHECK_EQ(second.ended.size(), 2);
  news.on(report_ack{conductor, 8, first.sequence});
  CHECK_EQ(news.next(3).ended.size(), 1);
  news.on(report_ack{conductor, 8, second.sequence});
  CHECK(news.next(4).ended.empty());
}

TEST_CASE("reporter: only the highest term is obeyed") {
  auto news = reporter{address{role::prefill, 0, 0, 1}, 100};
  CHECK(news.on(conductor_hello{{role::conductor, 0, 0, 8}, 8}));
  CHECK_FALSE(news.on(conductor_hello{{role::conductor, 0, 0, 7}, 7}));
  CHECK_EQ(news.term(), 8);
}

TEST_CASE("tombstones: an attempt and all lower ones are over") {
  auto over = tombstones{};
  over.bury({{1, 1}, 3});
  over.bury({{1, 1}, 2});
  CHECK(over.covers({{1, 1}, 0}));
  CHECK(over.covers({{1, 1}, 3}));
  CHECK_FALSE(over.covers({{1, 1}, 4}));
  CHECK_FALSE(over.covers({{1, 2}, 0}));
}
