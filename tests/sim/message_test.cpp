// SPDX-License-Identifier: Apache-2.0
#include "actors/core/interfaces.hpp"
#include "actors/sim/digest.hpp"
#include "tests/sim/mutate.hpp"
#include "tests/support/testing.hpp"

#include <caf/binary_deserializer.hpp>
#include <caf/binary_serializer.hpp>

#include <set>
#include <utility>

using namespace perigee;

namespace {

std::string digest_of(const caf::message& what) {
  sim::digest sum;
  sum.delivered(1, "a", "b", what);
  return sum.hex();
}

caf::byte_buffer bytes_of(const caf::message& what) {
  caf::byte_buffer result;
  caf::binary_serializer sink{nullptr, result};
  REQUIRE(sink.apply(what));
  return result;
}

/// Every field of `Message`, at any depth, changed alone.
template <class Message>
void check_fields() {
  auto name = caf::type_name_v<Message>;
  INFO(std::string(name.data(), name.size()));
  CHECK(sim::fields_inspected<Message>() == sim::aggregate_size<Message>());
  Message base;
  sim::fill(base);
  std::set<std::string> seen{digest_of(caf::make_message(base))};
  auto leaves = sim::count_leaves(base);
  REQUIRE(leaves > 0);
  for (size_t leaf = 0; leaf < leaves; ++leaf) {
    auto changed = base;
    sim::change_leaf(changed, leaf);
    INFO("leaf " << leaf);
    CHECK(seen.insert(digest_of(caf::make_message(changed))).second);
  }
}

/// Written and read back it is the same.
template <class Message>
void check_round_trip() {
  auto name = caf::type_name_v<Message>;
  INFO(std::string(name.data(), name.size()));
  Message base;
  sim::fill(base);
  auto bytes = bytes_of(caf::make_message(base));
  caf::message back;
  caf::binary_deserializer source{nullptr, bytes};
  REQUIRE(source.apply(back));
  CHECK(source.remaining() == 0);
  REQUIRE(back.match_elements<Message>());
  CHECK(bytes_of(back) == bytes);
}

template <class Message>
constexpr bool is_atom = std::is_empty_v<Message>;

template <uint16_t Offset>
void check_type() {
  using message = caf::type_by_id_t<caf::id_block::perigee::begin + Offset>;
  if constexpr (!is_atom<message>)
    check_fields<message>();
  // Handles cannot be read back without a network.
  if constexpr (!is_atom<message> && !std::is_same_v<message, peer_up> && !std::is_same_v<message, node_hello>)
    check_round_trip<message>();
}

template <uint16_t... Offsets>
void check_all(std::integer_sequence<uint16_t, Offsets...>) {
  (check_type<Offsets>(), ...);
}

} // namespace

TEST_CASE("messages: inspect knows every field, and the digest changes with every one of them") {
  check_all(std::make_integer_sequence<uint16_t, caf::id_block::perigee::end - caf::id_block::perigee::begin>{});
}
