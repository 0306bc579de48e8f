// SPDX-License-Identifier: Apache-2.0
#include "actors/policy/local_order.hpp"
#include "tests/support/testing.hpp"

using namespace perigee;

TEST_CASE("local_order: first come, first served, or the fewest tokens first until somebody waited too long") {
  auto first = local_job{1, 0, 5000};
  auto second = local_job{2, 1000, 50};
  CHECK(goes_before(local_order::fifo, first, second, 2000));
  CHECK(goes_before(local_order::shortest_first, second, first, 2000));
  CHECK(goes_before(local_order::shortest_first, first, second, local_wait_ns_max));
  CHECK_FALSE(goes_before(local_order::shortest_first, second, first, local_wait_ns_max));
  CHECK(goes_before(local_order::shortest_first, first, second, 2 * local_wait_ns_max)); // Both: the oldest.
  auto equal = local_job{3, 1000, 50};
  CHECK(goes_before(local_order::shortest_first, second, equal, 2000));
}

TEST_CASE("local_order: each is found by its name") {
  CHECK_EQ(find_local_order("fifo"), local_order::fifo);
  CHECK_EQ(find_local_order("shortest-first"), local_order::shortest_first);
  CHECK_FALSE(find_local_order("longest-first"));
}
