// SPDX-License-Identifier: Apache-2.0
#include "tests/support/testing.hpp"
#include "transport/mailbox.hpp"

#include <poll.h>

#include <thread>
#include <vector>

using namespace perigee::transport;

TEST_CASE("mailbox: the descriptor is readable exactly while something is inside") {
  auto box = mailbox<int>{};
  auto readable = [&] {
    auto wait = pollfd{box.wait_fd(), POLLIN, 0};
    return poll(&wait, 1, 0) == 1;
  };
  CHECK(!readable());
  CHECK(box.take().empty());
  box.push(1);
  box.push(2);
  CHECK(readable());
  auto inside = box.take();
  REQUIRE_EQ(inside.size(), 2);
  CHECK_EQ(inside[0], 1);
  CHECK_EQ(inside[1], 2);
  CHECK(!readable());
  box.push(3);
  CHECK(readable());
}

TEST_CASE("mailbox: nothing is lost between threads that push and one that sleeps on the descriptor") {
  constexpr auto each = 20000;
  auto box = mailbox<int>{};
  auto pushers = std::vector<std::thread>{};
  for (auto first : {0, each})
    pushers.emplace_back([&box, first] {
      for (auto i = 0; i < each; ++i)
        box.push(first + i);
    });
  auto next = std::vector<int>{0, each}; // of either thread
  for (auto taken = 0; taken < 2 * each;) {
    auto wait = pollfd{box.wait_fd(), POLLIN, 0};
    REQUIRE_EQ(poll(&wait, 1, 10000), 1);
    for (auto value : box.take()) {
      CHECK_EQ(value, next[value / each]++);
      ++taken;
    }
  }
  for (auto& pusher : pushers)
    pusher.join();
}
