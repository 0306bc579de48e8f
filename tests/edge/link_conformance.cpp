// SPDX-License-Identifier: Apache-2.0
#include "tests/edge/link_conformance.hpp"

#include "actors/core/interfaces.hpp"
#include "tests/sim/mutate.hpp"

#include <caf/binary_serializer.hpp>
#include <caf/send.hpp>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

namespace perigee::testing {

void letter_box::put(const caf::message& what) {
  auto lock = std::lock_guard{mutex_};
  got_.push_back(what);
}

std::vector<caf::message> letter_box::all() const {
  auto lock = std::lock_guard{mutex_};
  return got_;
}

size_t letter_box::size() const {
  auto lock = std::lock_guard{mutex_};
  return got_.size();
}

namespace link_cases {

namespace {

caf::byte_buffer bytes_of(const caf::message& what) {
  caf::byte_buffer out;
  caf::binary_serializer sink{nullptr, out};
  REQUIRE(sink.apply(what));
  return out;
}

template <uint16_t Offset>
void add_example(std::vector<caf::message>& to) {
  using message = caf::type_by_id_t<caf::id_block::perigee::begin + Offset>;
  // Handles are the membership's business, not that of what nodes tell each other.
  if constexpr (!std::is_same_v<message, peer_up> && !std::is_same_v<message, node_hello>) {
    message example{};
    if constexpr (!std::is_empty_v<message>)
      sim::fill(example);
    to.push_back(caf::make_message(example));
  }
}

template <uint16_t... Offsets>
std::vector<caf::message> examples(std::integer_sequence<uint16_t, Offsets...>) {
  std::vector<caf::message> out;
  (add_example<Offsets>(out), ...);
  return out;
}

void tell(const caf::actor& to, const caf::message& what) {
  to->enqueue(nullptr, caf::make_message_id(), what, nullptr);
}

} // namespace

void every_message_arrives_as_it_was(link_world& world) {
  auto box = std::make_shared<letter_box>();
  auto answers = std::make_shared<letter_box>();
  auto from = world.sender(world.listener(box), answers);
  auto all = examples(std::make_integer_sequence<uint16_t, caf::id_block::perigee::end - caf::id_block::perigee::begin>{});
  for (const auto& one : all)
    tell(from, one);
  REQUIRE(world.pump([&] { return box->size() == all.size(); }));
  std::multiset<caf::byte_buffer> sent;
  std::multiset<caf::byte_buffer> got;
  for (const auto& one : all)
    sent.insert(bytes_of(one));
  for (const auto& one : box->all())
    got.insert(bytes_of(one));
  CHECK(sent == got);
  CHECK(answers->size() == 0);
}

void messages_arrive_once(link_world& world) {
  auto box = std::make_shared<letter_box>();
  auto from = world.sender(world.listener(box), std::make_shared<letter_box>());
  constexpr uint64_t count = 2000;
  for (uint64_t id = 0; id < count; ++id)
    tell(from, caf::make_message(cancel_work{id}));
  REQUIRE(world.pump([&] { return box->size() >= count; }));
  world.let_time_pass();
  std::set<uint64_t> ids;
  for (const auto& one : box->all())
    ids.insert(one.get_as<cancel_work>(0).id);
  CHECK(ids.size() == count);
  CHECK(box->size() == count);
}

void a_dead_node_gets_and_says_nothing(link_world& world) {
  auto old_box = std::make_shared<letter_box>();
  auto answers = std::make_shared<letter_box>();
  auto from = world.sender(world.listener(old_box), answers);
  tell(from, caf::make_message(cancel_work{1}));
  REQUIRE(world.pump([&] { return old_box->size() == 1; }));
  world.restart_other();
  auto new_box = std::make_shared<letter_box>();
  auto again = world.sender(world.listener(new_box), std::make_shared<letter_box>());
  tell(from, caf::make_message(cancel_work{2}));
  tell(again, caf::make_message(cancel_work{3}));
  REQUIRE(world.pump([&] { return new_box->size() == 1; }));
  world.let_time_pass();
  CHECK(old_box->size() == 1);
  CHECK(new_box->size() == 1);
  CHECK(new_box->all()[0].get_as<cancel_work>(0).id == 3);
  CHECK(answers->size() == 0);
}

} // namespace link_cases

} // namespace perigee::testing
