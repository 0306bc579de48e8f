// SPDX-License-Identifier: Apache-2.0
#include "tests/support/testing.hpp"
#include "transport/base/status.hpp"
#include "transport/pool_memory.hpp"

#include <algorithm>
#include <limits>

using namespace perigee;
using namespace perigee::transport;

TEST_CASE("pool_memory: is zeroed, aligned to huge pages, and moves without its bytes moving") {
  auto pool = pool_memory{3 * pool_memory::alignment + 5};
  auto bytes = pool.bytes();
  CHECK_EQ(bytes.size(), 3 * pool_memory::alignment + 5);
  CHECK_EQ(reinterpret_cast<uintptr_t>(bytes.data()) % pool_memory::alignment, 0);
  CHECK(std::all_of(bytes.begin(), bytes.end(), [](auto byte) { return byte == std::byte{0}; }));
  bytes.back() = std::byte{42};
  auto other = std::move(pool);
  CHECK_EQ(other.bytes().data(), bytes.data());
  CHECK(pool.bytes().empty());
  auto third = pool_memory{1};
  third = std::move(other);
  CHECK_EQ(third.bytes().back(), std::byte{42});
  CHECK(pool_memory{0}.bytes().empty());
}

TEST_CASE("pool_memory: what the system cannot give is refused with the size named") {
  try {
    auto pool = pool_memory{std::numeric_limits<size_t>::max() / 2};
    FAIL("8 EiB were given");
  } catch (const failure& refused) {
    CHECK_EQ(refused.code(), errc::exhausted);
    CHECK(std::string{refused.what()}.find("MiB") != std::string::npos);
  }
}
