// SPDX-License-Identifier: Apache-2.0
#include "actors/node/pool_touch.hpp"

#include "tests/support/testing.hpp"
#include "transport/pool_memory.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

using namespace perigee;
using namespace perigee::actors;

namespace {

size_t resident(std::span<std::byte> memory) {
  auto pages = std::vector<unsigned char>(memory.size() / static_cast<size_t>(sysconf(_SC_PAGESIZE)));
  REQUIRE_EQ(mincore(memory.data(), memory.size(), pages.data()), 0);
  return static_cast<size_t>(std::ranges::count_if(pages, [](unsigned char page) { return (page & 1) != 0; }));
}

} // namespace

TEST_CASE("pool_touch: all pages are there afterwards, with what was in them, but not more than may be taken") {
  constexpr auto bytes = size_t{8} << 20;
  auto first = transport::pool_memory{bytes};
  auto second = transport::pool_memory{bytes};
  first.bytes()[bytes / 2] = std::byte{7};
  auto all = bytes / static_cast<size_t>(sysconf(_SC_PAGESIZE));
  REQUIRE_LT(resident(first.bytes()), all);
  {
    auto nothing = pool_touch{{first.bytes()}, 0};
    nothing.wait();
  }
  REQUIRE_LT(resident(first.bytes()), all);
  if (madvise(second.bytes().data(), 4096, MADV_POPULATE_WRITE) != 0)
    return testing::skip("the system takes pages only when they are used");
  auto touch = pool_touch{{first.bytes().subspan(1), second.bytes()}, bytes + bytes / 4};
  touch.wait();
  CHECK_GE(resident(first.bytes()), all - 1); // a page that is only partly in the pool is left alone
  CHECK_EQ(resident(second.bytes()), all / 4);
  CHECK(first.bytes()[bytes / 2] == std::byte{7});
  CHECK(first.bytes()[0] == std::byte{0});
}

TEST_CASE("pool_touch: it stops when it goes, wherever it is") {
  auto memory = transport::pool_memory{size_t{64} << 20};
  for (auto round = 0; round < 20; ++round)
    auto touch = pool_touch{{memory.bytes()}, memory.bytes().size()};
  CHECK_GT(memory_to_touch_max(), 0);
}
