// SPDX-License-Identifier: Apache-2.0
#include "actors/core/handover_messages.hpp"
#include "tests/support/testing.hpp"

#include <caf/binary_deserializer.hpp>
#include <caf/binary_serializer.hpp>

#include <numeric>

using namespace perigee;

namespace {

template <class T>
caf::byte_buffer written(T what) {
  auto bytes = caf::byte_buffer{};
  auto sink = caf::binary_serializer{nullptr, bytes};
  REQUIRE(sink.apply(what));
  return bytes;
}

template <class Number>
caf::byte_buffer one_by_one(const std::vector<Number>& numbers) {
  auto bytes = caf::byte_buffer{};
  auto sink = caf::binary_serializer{nullptr, bytes};
  REQUIRE(sink.begin_sequence(numbers.size()));
  for (auto number : numbers)
    REQUIRE(sink.value(number));
  return bytes;
}

} // namespace

TEST_CASE("inspect_lists: lists of numbers are the bytes of their numbers one by one, and are read back") {
  for (auto size : {0u, 1u, 255u, 256u, 257u, 1000u}) {
    auto tokens = std::vector<token_id>(size);
    std::iota(tokens.begin(), tokens.end(), -3);
    auto bytes = one_by_one(tokens);
    CHECK(written(tokens) == bytes);
    CHECK(written(shared_list<token_id>{tokens}) == bytes);
    auto back = shared_list<token_id>{};
    auto source = caf::binary_deserializer{nullptr, bytes};
    REQUIRE(source.apply(back));
    CHECK(back == tokens);
    CHECK_EQ(source.remaining(), 0);
    CHECK(written(std::vector<uint32_t>(size, 7)) == one_by_one(std::vector<uint32_t>(size, 7)));
  }
}

TEST_CASE("inspect_lists: a length that is not there is refused without memory for it") {
  auto bytes = one_by_one(std::vector<uint32_t>{1, 2, 3});
  bytes.resize(bytes.size() - 1);
  auto back = std::vector<uint32_t>{};
  auto source = caf::binary_deserializer{nullptr, bytes};
  CHECK_FALSE(source.apply(back));
  auto endless = caf::byte_buffer(4, caf::byte{0xff});
  auto again = caf::binary_deserializer{nullptr, endless};
  CHECK_FALSE(again.apply(back));
}
