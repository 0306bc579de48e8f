// SPDX-License-Identifier: Apache-2.0
#include "tests/support/testing.hpp"
#include "transport/base/shared_list.hpp"

#include <utility>

using namespace perigee;

TEST_CASE("shared_list: copies and parts share one memory, which outlives the list they came from") {
  auto all = shared_list<int>{1, 2, 3, 4, 5};
  auto copy = all;
  auto part = all.part(1, 3);
  CHECK_EQ(copy.data(), all.data());
  CHECK_EQ(part.data(), all.data() + 1);
  all = {};
  CHECK(all.empty());
  CHECK(part == std::vector<int>{2, 3, 4});
  CHECK_EQ(part.front(), 2);
  CHECK_EQ(part.back(), 4);
  CHECK(copy.part(5, 0).empty());
}

TEST_CASE("shared_list: what was moved from is empty") {
  auto from = shared_list<int>{1, 2};
  auto to = std::move(from);
  CHECK(from.empty());
  CHECK(from.begin() == from.end());
  from = std::move(to);
  CHECK(to.empty());
  CHECK_EQ(from.size(), 2);
}

TEST_CASE("shared_list: equal content is equal, wherever it stands") {
  auto a = shared_list<int>{1, 2, 1, 2};
  CHECK(a.part(0, 2) == a.part(2, 2));
  CHECK_FALSE(a.part(0, 2) == a.part(1, 2));
  CHECK_FALSE(a.part(0, 2) == a.part(0, 3));
  CHECK(shared_list<int>{} == shared_list<int>{std::vector<int>{}});
}
